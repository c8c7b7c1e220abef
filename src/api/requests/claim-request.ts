import type { Context } from "hono";
import { errorInfo, isTemperaError } from "../../core/errors/tempera-error.ts";
import type { Json } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { ClaimName } from "../../core/requests/idempotency-store.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { createFindRequest, type FoundRequest } from "./find-request.ts";
import type { Caller } from "../auth/key-ring.ts";
import { createRefusedLately } from "../limits/recent-refusals.ts";
import { answerAbout, requestIdOf } from "../http/request-id.ts";
import { fingerprintOf, idempotencyKeyOf, reusedKey } from "./idempotency-key.ts";

/** What the idempotency key of a call means for it. */
export type ClaimedRequest =
  /** There is an earlier call of this key; its request is the answer. */
  | { standing: FoundRequest }
  /**
   * The request is to be started, under the id that the answer carries from here on. `shared`: somebody else
   * may be starting it too, and Temporal judges who was first.
   */
  | { standing?: undefined; shared: boolean; release(): void };

interface Asked {
  caller: Caller;
  endpoint: string;
  input: Json;
}

/**
 * Finds out whether a call was made before (docs/limits.md). `undefined`: it carries no idempotency key, and
 * its key has no time in which the same input is the same request; nothing was asked then.
 *
 * Rejects with `idempotency_key_reused`, with `input_invalid` for a key that is none, and with
 * `store_unavailable`: who wants a promise is not served without it.
 *
 * Rejects with what `allowed` does, the count of this call by its owner's limits: the claim is made beside
 * it, a round trip to each store at the same time, and taken back when the call is refused. Owners whose
 * calls were refused lately are counted first.
 */
export const createClaimRequest = (
  api: Pick<ApiDependencies, "claims" | "limits" | "events" | "requests" | "jobs" | "clock" | "log">,
) => {
  const findRequest = createFindRequest(api);

  const refusedLately = createRefusedLately();
  return async function claimRequest(
    c: Context,
    asked: Asked,
    allowed: Promise<void>,
  ): Promise<ClaimedRequest | undefined> {
    const { ownerId } = asked.caller;
    const claiming = refusedLately.has(ownerId) ? allowed.then(() => claimed(c, asked)) : claimed(c, asked);
    // Its failure is the answer of a call that is allowed, and nobody's when it is not.
    claiming.catch(() => {});
    try {
      await allowed;
    } catch (error) {
      refusedLately.add(ownerId);
      claiming.then(
        (claim) => claim && !claim.standing && claim.release(),
        () => {},
      );
      throw error;
    }
    return claiming;
  };

  async function claimed(
    c: Context,
    { caller, endpoint, input }: Asked,
  ): Promise<ClaimedRequest | undefined> {
    const key = idempotencyKeyOf(c);
    const { owner, key: ofKey } = key === undefined ? await api.limits.of(caller) : { owner: {}, key: {} };
    const seconds =
      key === undefined ? (ofKey.sameInputSeconds ?? owner.sameInputSeconds ?? 0) : LIMITS.idempotencySeconds;
    if (seconds === 0) return undefined;
    const fingerprint = fingerprintOf(endpoint, input);
    const name: ClaimName = {
      ownerId: caller.ownerId,
      key: key === undefined ? `same:${caller.keyId}:${fingerprint}` : `key:${key}`,
    };
    for (;;) {
      const claim = await api.claims.claim(name, {
        fingerprint,
        seconds,
        ...(key === undefined && { requestId: requestIdOf(c) }),
      });
      const { requestId } = claim;
      if (claim.fingerprint !== fingerprint) throw reusedKey(key ?? "", requestId);
      answerAbout(c, requestId);
      if (claim.mine) return { shared: false, release: () => void release(name, requestId) };
      const standing = await find(caller, requestId);
      if (standing) return { standing };
      // It was claimed and, as far as anybody knows, not started: its gateway is about to, or has died.
      // Whoever is first, it is this id.
      if (await api.claims.share(name, requestId)) return { shared: true, release: () => {} };
    }
  }

  /** The request, when there is a job behind it. */
  async function find(caller: Caller, requestId: string): Promise<FoundRequest | undefined> {
    try {
      const found = await findRequest(caller, requestId);
      // The event log may have heard of a submit whose job never came to be.
      if (found.state !== "IN_QUEUE" || (await api.jobs.describe(requestId))) return found;
    } catch (error) {
      if (!isTemperaError(error) || error.code !== "request_unknown") throw error;
    }
    return undefined;
  }

  function release(name: ClaimName, requestId: string): void {
    api.claims
      .release(name, requestId)
      .catch((error) =>
        api.log.warn({ requestId, err: errorInfo(error) }, "the claim of a refused request was not released"),
      );
  }
};
