import type { Context } from "hono";
import { isStoreFailure } from "../../core/errors/store-failure.ts";
import { errorInfo, isTemperaError } from "../../core/errors/tempera-error.ts";
import type { Json } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import { claimedRequestId, dayOf } from "../../core/requests/claimed-request-id.ts";
import type { ClaimName } from "../../core/requests/idempotency-store.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { inTurn } from "../http/body-share.ts";
import { requestIdOf, setRequestId } from "../http/request-id.ts";
import { createFindRequest, type FindRequest, type FoundRequest } from "./find-request.ts";
import { fingerprintOf, idempotencyKeyOf, idempotencyKeyReused } from "./idempotency-key.ts";

/** The claim of a request that is to be started, under the id that the answer carries from now on. */
export interface NewRequestClaim {
  existing?: undefined;
  /** The idempotency key; absent when equal inputs are one request without one. */
  key?: string;
  /** SHA-256 of the endpoint and the input, hex. */
  fingerprint: string;
  /** Another call may be starting the same request; Temporal decides which of them was first. */
  shared: boolean;
  /** Frees the idempotency key, for a request that is not started after all. */
  release(): void;
  /** Takes note that Temporal has accepted the job of a claim that could not be stored. */
  markStarted?(): void;
}

/** The meaning of a call's idempotency key: an existing request, which answers the call, or a new one. */
export type ClaimedRequest = { existing: FoundRequest } | NewRequestClaim;

/** The parts of a call that make two calls the same. */
export interface ClaimedCall {
  caller: Caller;
  endpoint: string;
  /** Gives the input as it is compared; asked only when it is. */
  readInput(): Json | Promise<Json>;
}

/** Longest pause between two tries to store a claim that was made without PostgreSQL, and the most tries. */
const STORE_PAUSE_MAX_MS = 5_000;
const STORE_TRIES_MAX = (LIMITS.idempotencySeconds * 1000) / STORE_PAUSE_MAX_MS;

type ClaimApi = Pick<ApiDependencies, "claims" | "limits" | "events" | "requests" | "jobs" | "clock" | "log">;

/**
 * Claims the request of a call: finds out whether the call was made before (docs/limits.md). `undefined`
 * means that the call has no idempotency key, and its API key sets no time in which equal inputs are one
 * request.
 *
 * Without PostgreSQL, Temporal alone decides about calls with an idempotency key (docs/decisions/0028).
 *
 * Rejects with `idempotency_key_reused`, with `input_invalid` for a malformed idempotency key, and with
 * `store_unavailable` or `temporal_unavailable`: a caller who wants the guarantee is not served without it.
 */
export function createClaimRequest(api: ClaimApi) {
  const claims = new RequestClaims(api);
  return function claimRequest(c: Context, call: ClaimedCall): Promise<ClaimedRequest | undefined> {
    return claims.claim(c, call);
  };
}

/** Makes claims with PostgreSQL, and without it. */
class RequestClaims {
  readonly #api: ClaimApi;
  readonly #findRequest: FindRequest;

  constructor(api: ClaimApi) {
    this.#api = api;
    this.#findRequest = createFindRequest(api);
  }

  async claim(c: Context, call: ClaimedCall): Promise<ClaimedRequest | undefined> {
    const key = idempotencyKeyOf(c);
    const seconds = key === undefined ? await this.#sameInputSeconds(call.caller) : LIMITS.idempotencySeconds;
    if (seconds === 0) return undefined;
    const input = await call.readInput();
    const fingerprint = await inTurn(c, () => fingerprintOf(call.endpoint, input));
    const { ownerId, keyId } = call.caller;
    const name: ClaimName = {
      ownerId,
      key: key === undefined ? `same:${keyId}:${fingerprint}` : `key:${key}`,
    };
    for (;;) {
      const claim = await this.#api.claims
        .claim(name, { fingerprint, seconds, ...(key === undefined && { requestId: requestIdOf(c) }) })
        .catch((error) => {
          if (key === undefined || !isStoreFailure(error)) throw error;
        });
      if (!claim) return this.#claimWithoutStore(c, call, { name, key: key ?? "", fingerprint });
      const { requestId } = claim;
      if (claim.fingerprint !== fingerprint) throw idempotencyKeyReused(key ?? "", requestId);
      setRequestId(c, requestId);
      const claimed = { ...(key !== undefined && { key }), fingerprint };
      if (claim.isOwn) return { ...claimed, shared: false, release: () => this.#release(name, requestId) };
      const existing = await this.#findStarted(call.caller, requestId);
      if (existing) return { existing };
      // The request was claimed and, as far as anybody knows, not started: its gateway is about to start it,
      // or has died. Both calls use this id.
      if (await this.#api.claims.share(name, requestId))
        return { ...claimed, shared: true, release: () => {} };
    }
  }

  /**
   * Claims a request while PostgreSQL is away. The id that PostgreSQL would give is the claim: Temporal has
   * it once. A key that was first used yesterday still has yesterday's id.
   */
  async #claimWithoutStore(
    c: Context,
    { caller }: ClaimedCall,
    { name, key, fingerprint }: { name: ClaimName; key: string; fingerprint: string },
  ): Promise<ClaimedRequest> {
    const nowMs = this.#api.clock.nowMs();
    const requestId = claimedRequestId(name, dayOf(nowMs));
    const ids = [claimedRequestId(name, dayOf(nowMs) - 1), requestId];
    const jobs = await Promise.all(ids.map((id) => this.#api.jobs.describe(id)));
    const job = jobs.find((each) => each && nowMs - each.submittedAtMs < LIMITS.idempotencySeconds * 1000);
    setRequestId(c, job?.requestId ?? requestId);
    if (job) {
      if (job.fingerprint !== undefined && job.fingerprint !== fingerprint)
        throw idempotencyKeyReused(key, job.requestId);
      const existing = await this.#findRequest(caller, job.requestId).catch((error) => {
        // The event log has not seen it, so that nobody knows more than Temporal.
        if (!isStoreFailure(error)) throw error;
        return { ...job, position: 0, metrics: {} };
      });
      return { existing };
    }
    const markStarted = (): void => this.#storeLater(name, { requestId, fingerprint });
    return { key, fingerprint, shared: true, release: () => {}, markStarted };
  }

  /** Stores a claim once PostgreSQL is back, so that the key means this request on the next day too. */
  #storeLater(name: ClaimName, claim: { requestId: string; fingerprint: string }, tries = 0): void {
    const seconds = LIMITS.idempotencySeconds;
    this.#api.claims.claim(name, { ...claim, seconds }).catch((error) => {
      if (isTemperaError(error) && tries < STORE_TRIES_MAX)
        setTimeout(
          () => this.#storeLater(name, claim, tries + 1),
          Math.min(250 * 2 ** tries, STORE_PAUSE_MAX_MS),
        ).unref();
      else
        this.#api.log.warn(
          { ...claim, err: errorInfo(error) },
          "the claim of an idempotency key was not stored",
        );
    });
  }

  /** Reads for how long equal inputs of a caller are one request; 0 is not at all. */
  async #sameInputSeconds(caller: Caller): Promise<number> {
    const { owner, key } = await this.#api.limits.of(caller);
    return key.sameInputSeconds ?? owner.sameInputSeconds ?? 0;
  }

  /** Finds the request, if it has a job. */
  async #findStarted(caller: Caller, requestId: string): Promise<FoundRequest | undefined> {
    try {
      const found = await this.#findRequest(caller, requestId);
      // The event log may know a submit whose job was never started.
      if (found.state !== "IN_QUEUE" || (await this.#api.jobs.describe(requestId))) return found;
    } catch (error) {
      if (!isTemperaError(error) || error.code !== "request_unknown") throw error;
    }
    return undefined;
  }

  #release(name: ClaimName, requestId: string): void {
    this.#api.claims
      .release(name, requestId)
      .catch((error) =>
        this.#api.log.warn(
          { requestId, err: errorInfo(error) },
          "the claim of a refused request was not released",
        ),
      );
  }
}
