import { setImmediate as nextTurn } from "node:timers/promises";
import type { Context } from "hono";
import { appOf } from "../../core/models/endpoint.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import type { Json } from "../../core/json/json.ts";
import type { Route } from "../../registry/registry.ts";
import { answerOutcome } from "../requests/answer-outcome.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { createFindRequest, type FoundRequest } from "../requests/find-request.ts";
import { type ClaimedRequest, createClaimRequest } from "../requests/claim-request.ts";
import { REPLAYED_HEADER } from "../requests/idempotency-key.ts";
import { type Intake, queueJob, readIntake } from "../requests/submission.ts";
import type { Caller } from "../auth/key-ring.ts";
import { bodyOfCall } from "../http/request-body.ts";
import { takePlace } from "../limits/acquire-slot.ts";
import { requestIdOf } from "../http/request-id.ts";
import { callerRoute } from "../requests/caller-route.ts";
import { cancelJob } from "./cancel-job.ts";
import { followJob } from "./follow-job.ts";
import type { InFlight } from "./in-flight.ts";
import { readRunInput } from "./run-input.ts";

/** A run that takes longer is listed while it runs. */
const RECORD_AFTER_MS = 1_000;

export type RunApi = Pick<
  ApiDependencies,
  | "keyRing"
  | "tokens"
  | "registry"
  | "findPipeline"
  | "checkDefinition"
  | "flags"
  | "jobs"
  | "events"
  | "requests"
  | "objects"
  | "places"
  | "claims"
  | "limits"
  | "clock"
  | "log"
  | "bodyBytesMax"
  | "storageDefaults"
>;

/**
 * Runs a model and answers with its output, as one call (contract §3): the job of a submit with a single
 * attempt, waited for. Cancelled when the caller leaves, unless an idempotency key says that it comes back:
 * then the next call with that key waits for the same job, and is given the same answer.
 *
 * 401, 404, 400, 413, 422 and 503 as a submit; 429 when the caller has too many of these open; then what the
 * result says.
 */
export const createRun = (api: RunApi, inFlight: InFlight) => {
  const findRequest = createFindRequest(api);
  const claimRequest = createClaimRequest(api);
  return async (c: Context, endpoint: string): Promise<Response> => {
    const caller = await api.keyRing.authenticate(c.req.header("authorization"), appOf(endpoint));
    const route = await callerRoute(api, caller, { endpoint, requestId: requestIdOf(c) });
    using _place = inFlight.take(caller.ownerId);
    const { schemas } = route.model ?? route.pipeline;
    const allowed = api.limits.call(caller);
    const raw = await bodyOfCall(readRunInput(c, schemas.input, api.bodyBytesMax), allowed);
    const claim = await claimRequest(c, { caller, endpoint, input: raw }, allowed);
    if (claim?.standing?.state === "COMPLETED") return await replay(c, claim.standing);
    const intake = claim?.standing ? undefined : await begin(c, { route, caller, raw }, claim);
    const requestId = requestIdOf(c);

    const stop = new AbortController();
    const events = followJob({ api, findRequest }, { caller, requestId }, stop.signal);
    const gone = c.req.raw.signal;
    const leave = (): void => {
      stop.abort();
      if (!claim) cancelJob(api, requestId);
    };
    const headers = claim?.standing ? { [REPLAYED_HEADER]: "true" } : {};
    try {
      const queueing =
        intake &&
        queueJob(api, intake, { recordAfterMs: RECORD_AFTER_MS, claim: claim?.standing ? undefined : claim });
      // Behind the start and ahead of its answer, so that a quick job's end is told and not read back.
      let next = nextTurn().then(() => events.next());
      next.catch(() => {});
      await queueing?.started.catch((error) => {
        // With a key, somebody else may have started it, in the same place.
        if (intake?.job.place && !claim) leavePlace(intake.job);
        throw error;
      });
      gone.addEventListener("abort", leave, { once: true });
      if (gone.aborted) leave();
      let servedFrom: string | undefined;
      for (;;) {
        const { done, value } = await next;
        if (done) throw new TemperaError("client_disconnected");
        if (value.event.type === "started") servedFrom = value.event.worker;
        if (value.event.type === "done") {
          queueing?.ended();
          const from = servedFrom === undefined ? {} : { "x-fal-served-from": servedFrom };
          return await answerOutcome(c, api, value.event.outcome, { ...headers, ...from });
        }
        next = events.next();
      }
    } finally {
      gone.removeEventListener("abort", leave);
      // Behind the answer: nobody waits for it.
      setImmediate(() => {
        stop.abort();
        void events.return(undefined);
      });
    }
  };

  /** A run that is to be started, in one of its owner's places. */
  async function begin(
    c: Context,
    asked: { route: Route; caller: Caller; raw: Json },
    claim: ClaimedRequest | undefined,
  ): Promise<Intake> {
    try {
      const intake = await readIntake(api, c, { ...asked, direct: true });
      await takePlace(api, intake);
      return intake;
    } catch (error) {
      if (claim && !claim.standing) claim.release();
      throw error;
    }
  }

  function leavePlace(job: JobSpec): void {
    // Should this fail too, the place is found to be nobody's within a minute.
    api.places.leave(job).catch(() => {});
  }

  /** The outcome of a run that has ended. */
  async function replay(c: Context, { requestId, outcome }: FoundRequest): Promise<Response> {
    const known =
      outcome ??
      (await api.events.outcome(requestId).catch(() => undefined))?.outcome ??
      (await api.jobs.outcome(requestId));
    if (!known)
      throw new TemperaError("store_unavailable", "The result cannot be read right now. Try again.");
    return answerOutcome(c, api, known, { [REPLAYED_HEADER]: "true" });
  }
};
