import { setImmediate as nextTurn } from "node:timers/promises";
import type { Context } from "hono";
import { onAbort } from "../../core/concurrency/with-abort.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { Json } from "../../core/json/json.ts";
import { appOf } from "../../core/models/endpoint.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import type { Outcome } from "../../core/requests/request.ts";
import type { Route } from "../../registry/registry.ts";
import { callOf } from "../auth/call.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { giveBackBody } from "../http/body-share.ts";
import { requestIdOf } from "../http/request-id.ts";
import { acquireSlot } from "../limits/acquire-slot.ts";
import { createAdmitCall } from "../requests/admit-call.ts";
import { answerOutcome } from "../requests/answer-outcome.ts";
import { findCallerRoute } from "../requests/caller-route.ts";
import type { ClaimedRequest } from "../requests/claim-request.ts";
import { createFindRequest, type FoundRequest } from "../requests/find-request.ts";
import { REPLAYED_HEADER } from "../requests/idempotency-key.ts";
import { queueJob } from "../requests/queue-job.ts";
import { prepareSubmission, readSubmission, type Submission } from "../requests/submission.ts";
import { cancelJob } from "./cancel-job.ts";
import { followJob } from "./follow-job.ts";
import { readRunInput } from "./run-input.ts";

/** A run that takes longer gets its row, and is listed, while it runs. */
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
  | "withdrawJob"
  | "events"
  | "requests"
  | "objects"
  | "files"
  | "slots"
  | "claims"
  | "limits"
  | "budgets"
  | "clock"
  | "log"
  | "bodyBytesMax"
  | "storageDefaults"
  | "publicUrl"
  | "filesUrl"
  | "outputUrls"
  | "signAddress"
>;

/**
 * Runs a model and answers with its output in the same call (contract §3): a submitted job with a single
 * attempt, whose end the call waits for. The job is cancelled when the caller disconnects, unless an
 * idempotency key announces that the caller may return: then the next call with that key waits for the same
 * job, and gets the same answer.
 *
 * 401, 404, 400, 413, 422 and 503 as for a submit; 429 when the caller has too many calls open; any status of
 * the result.
 */
export function createRun(api: RunApi) {
  const findRequest = createFindRequest(api);
  const admitCall = createAdmitCall(api);

  /**
   * Reads the input and makes the submission, unless an idempotency key names a job that exists. A function
   * of its own, so that a call that waits does not keep its input.
   */
  const begin = async (c: Context, caller: Caller, route: Route, endpoint: string) => {
    const { schemas } = route.model ?? route.pipeline;
    const { input: raw, claim } = await admitCall(c, {
      caller,
      endpoint,
      coerced: route.checkInput.coerced,
      readBody: async () => ({ input: await readRunInput(c, schemas.input, api.bodyBytesMax) }),
    });
    const submission = claim?.existing ? undefined : await prepare(api, c, { route, caller, raw }, claim);
    return { claim, submission };
  };

  return async (c: Context, endpoint: string): Promise<Response> => {
    const caller = await api.keyRing.authenticate(
      c.req.header("authorization"),
      callOf(c, { writes: true }),
      appOf(endpoint),
    );
    const route = await findCallerRoute(api, caller, { endpoint, requestId: requestIdOf(c) });
    const open = api.budgets.openCalls.acquire(caller.ownerId);
    try {
      if (c.req.method === "GET") await api.limits.countCall(caller);
      const { claim, submission } = await begin(c, caller, route, endpoint);
      giveBackBody(c);
      if (claim?.existing?.state === "COMPLETED") return await replay(api, c, claim.existing, open);
      return await answerWhenEnded(api, c, { findRequest, caller, submission, claim, open });
    } catch (error) {
      open[Symbol.dispose]();
      throw error;
    }
  };
}

interface PendingRun {
  findRequest: ReturnType<typeof createFindRequest>;
  caller: Caller;
  /** The job to start; absent when an idempotency key named one that runs already. */
  submission: Submission | undefined;
  claim: ClaimedRequest | undefined;
  /** The open call, which ends with the answer. */
  open: Disposable;
}

/** Checks the input of a new job and acquires a concurrency slot of its owner. */
function prepare(
  api: RunApi,
  c: Context,
  call: { route: Route; caller: Caller; raw: Json },
  claim: ClaimedRequest | undefined,
): Promise<Submission> {
  return prepareSubmission(api, { caller: call.caller, claim }, async (taken) => {
    const submission = await readSubmission(api, c, { ...call, taken, direct: true });
    await acquireSlot(api, submission.job);
    return submission;
  });
}

/** Starts the job if it is new, waits for its end and answers with its outcome. */
async function answerWhenEnded(
  api: RunApi,
  c: Context,
  { findRequest, caller, submission, claim, open }: PendingRun,
): Promise<Response> {
  const requestId = requestIdOf(c);
  const stop = new AbortController();
  const events = followJob({ api, findRequest }, { caller, requestId }, stop.signal);
  const headers = claim?.existing ? { [REPLAYED_HEADER]: "true" } : {};
  try {
    const newClaim = claim?.existing ? undefined : claim;
    const queued =
      submission && queueJob(api, submission, { recordAfterMs: RECORD_AFTER_MS, claim: newClaim });
    // The subscription begins after the start was sent and before it is answered, so that the end of a quick
    // job arrives as an event and needs no read.
    const first = nextTurn().then(() => events.next());
    first.catch(() => {});
    await queued?.started.catch((error) => {
      // With an idempotency key, another call may have started the job, in the same slot.
      if (submission && !claim) releaseSlot(api, submission.job);
      throw error;
    });
    using _subscription = onAbort(c.req.raw.signal, () => {
      stop.abort();
      if (!claim) cancelJob(api, requestId);
    });
    const { outcome, worker } = await waitForEnd(first, events);
    queued?.markEnded();
    const servedFrom = worker === undefined ? {} : { "x-fal-served-from": worker };
    const sent = { outcome, ownerId: caller.ownerId, open };
    return await answerOutcome(c, api, sent, { ...headers, ...servedFrom });
  } finally {
    // After the answer, which does not depend on it.
    setImmediate(() => {
      stop.abort();
      void events.return(undefined);
    });
  }
}

/** Reads events up to `done`. `worker`: the GPU worker of the last attempt. Rejects when they end before. */
async function waitForEnd(
  first: ReturnType<ReturnType<typeof followJob>["next"]>,
  events: ReturnType<typeof followJob>,
): Promise<{ outcome: Outcome; worker?: string }> {
  let worker: string | undefined;
  for (let next = first; ; next = events.next()) {
    const { done, value } = await next;
    if (done) throw new TemperaError("client_disconnected");
    if (value.event.type === "started") ({ worker } = value.event);
    if (value.event.type === "done")
      return { outcome: value.event.outcome, ...(worker !== undefined && { worker }) };
  }
}

/** Releases the concurrency slot, if it has one, of a job that did not start. */
export function releaseSlot({ slots }: Pick<RunApi, "slots">, job: JobSpec): void {
  // Should this fail too, the slot is found to be unused within a minute.
  if (job.place) slots.release(job).catch(() => {});
}

/** Answers with the outcome of a run that has ended before. */
async function replay(
  api: RunApi,
  c: Context,
  { requestId, ownerId, outcome }: FoundRequest,
  open: Disposable,
): Promise<Response> {
  const known =
    outcome ??
    (await api.events.outcome(requestId).catch(() => undefined))?.outcome ??
    (await api.jobs.outcome(requestId));
  if (!known) throw new TemperaError("store_unavailable", "The result cannot be read right now. Try again.");
  return answerOutcome(c, api, { outcome: known, ownerId, open }, { [REPLAYED_HEADER]: "true" });
}
