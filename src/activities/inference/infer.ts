import { Context } from "@temporalio/activity";
import type { Engines } from "../../core/engines/engine.ts";
import type { FileStore } from "../../core/files/file-store.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import type { JobSpec, PreviousAttempts } from "../../core/requests/job.ts";
import type { Outcome } from "../../core/requests/request.ts";
import type { RequestStore } from "../../core/requests/request-store.ts";
import type { CheckNode } from "../pipelines/check-node.ts";
import type { NodeCache } from "../pipelines/node-cache.ts";
import { attemptFailure, InferenceAttempt } from "./inference-attempt.ts";
import type { FetchInput } from "./input-files.ts";
import type { createRecordOutcome } from "./record-outcome.ts";
import type { RunningRequests } from "./running-requests.ts";

export interface InferDependencies {
  /** The pool that runs models on this worker's device. */
  engines: Engines;
  events: EventLog;
  /** Read by a retried attempt, for an outcome that the event log has lost. */
  requests: Pick<RequestStore, "find">;
  objects: ObjectStore;
  /** The records of produced files that have a lifecycle. */
  files: Pick<FileStore, "begin" | "claim" | "store">;
  clock: Clock;
  /** Cancels, as the event log announces them within milliseconds. */
  running: RunningRequests;
  /** Checks the input that a pipeline's workflow gave to a node. */
  checkNode: CheckNode;
  /** Downloads the files that an input names. */
  fetchInput: FetchInput;
  /** Earlier results of nodes. */
  nodeCache: Pick<NodeCache, "lookUp">;
  /** The finish step, taken here when the model returned an output. */
  recordOutcome: ReturnType<typeof createRecordOutcome>;
  /** Base of the URLs under which artifacts are served. */
  publicUrl: string;
}

export interface InferResult {
  outcome: Outcome;
  attempt: number;
  startedAtMs?: number;
  /** The outcome is in PostgreSQL already: the finish step has nothing left to do. */
  recorded?: boolean;
}

/**
 * The inference activity: one attempt of one request on this worker's engine (design §4, step 3).
 *
 * Returns the outcome when the model returned an output. Throws an `ApplicationFailure` whose type is a code
 * of the error catalogue and whose details are the `ErrorInfo` and the attempt; Temporal retries it unless
 * the code is not retryable. Artifacts are stored before the outcome names them. A retried attempt returns
 * the outcome that exists already, or continues from the last checkpoint. When this worker hands the attempt
 * over, the failure carries a `HandOver`, unless the job may have one attempt only.
 *
 * `before` sums up the earlier activities of this job. A workflow that does not pass it counts a hand-over as
 * an attempt.
 */
export function createInfer(dependencies: InferDependencies) {
  return async function infer(job: JobSpec, before?: PreviousAttempts): Promise<InferResult> {
    const context = Context.current();
    const attempt = (before?.attempts ?? 0) + context.info.attempt;
    if (attempt > 1) {
      const existing = await findOutcome(dependencies, job.requestId);
      if (existing) return existingResult(existing, attempt);
    }
    using running = new InferenceAttempt(dependencies, { job, attempt, before, context });
    return await running.run();
  };
}

/** Finds the outcome that an earlier attempt, or a cancel, has left. */
async function findOutcome(
  { events, requests }: Pick<InferDependencies, "events" | "requests">,
  requestId: string,
): Promise<Outcome | undefined> {
  const logged = await events.outcome(requestId).catch(() => undefined);
  if (logged?.outcome) return logged.outcome;
  const recorded = await requests.find(requestId).catch(() => undefined);
  return recorded?.outcome;
}

function existingResult(outcome: Outcome, attempt: number): InferResult {
  if (outcome.ok) return { outcome, attempt };
  throw attemptFailure({ info: outcome.error, retryable: false }, attempt);
}
