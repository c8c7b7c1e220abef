import { Context } from "@temporalio/activity";
import type { JobSpec, PreviousAttempts } from "../../core/requests/job.ts";
import type { Outcome } from "../../core/requests/request.ts";
import type { InferDependencies, InferResult } from "./infer-dependencies.ts";
import { attemptFailure, InferenceAttempt } from "./inference-attempt.ts";

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
