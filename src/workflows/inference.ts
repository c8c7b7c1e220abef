/** One call of a model, and what becomes of it: what a job and a pipeline's node have in common. */
import { RetryState } from "@temporalio/common";
import {
  ActivityFailure,
  ApplicationFailure,
  isCancellation,
  proxyActivities,
  TimeoutFailure,
} from "@temporalio/workflow";
import type { GpuActivities, OrchestratorActivities } from "../activities/index.ts";
import { CATALOGUE, type ErrorCode, isErrorCode } from "../core/errors/catalogue.ts";
import type { ErrorInfo } from "../core/errors/tempera-error.ts";
import { type AttemptsBefore, type HandOver, type JobSpec, priorityOf } from "../core/requests/job.ts";
import type { Outcome } from "../core/requests/request.ts";
import { untilDone } from "./durable-local-activity.ts";

export type Ended = Parameters<OrchestratorActivities["recordOutcome"]>[0];

/**
 * Calls the inference activity on the job's task queue, again whenever a GPU worker has let go of it; never
 * rejects. `recorded`: the outcome stands in Postgres already.
 *
 * @param shown how the activity is called in Temporal, where it is not the only one of its workflow
 */
export async function runInference(
  job: JobSpec,
  shown: { activityId?: string; summary: string } = { summary: `${job.endpoint} ${job.version}` },
): Promise<Ended & { recorded?: boolean }> {
  let before: AttemptsBefore = { attempts: 0, handOvers: 0, started: false };
  for (;;) {
    const attemptsMax = job.retry.attemptsMax - (before.attempts - before.handOvers);
    const { infer } = proxyActivities<GpuActivities>({
      taskQueue: job.taskQueue,
      startToCloseTimeout: job.timeouts.runMs,
      heartbeatTimeout: job.timeouts.heartbeatMs,
      ...(job.startTimeoutMs !== undefined &&
        !before.started && {
          scheduleToStartTimeout: Math.max(1, job.submittedAtMs + job.startTimeoutMs - Date.now()),
        }),
      retry: {
        maximumAttempts: attemptsMax,
        initialInterval: job.retry.initialMs,
        backoffCoefficient: job.retry.backoff,
        maximumInterval: Math.max(job.retry.maximumMs, job.retry.initialMs),
      },
      priority: priorityOf(job),
      cancellationType: "TRY_CANCEL",
      ...shown,
    });
    try {
      const result = await infer(job, before);
      return {
        job,
        outcome: result.outcome,
        attempts: result.attempt,
        ...(result.startedAtMs !== undefined && { startedAtMs: result.startedAtMs }),
        recorded: result.recorded === true,
        exhausted: false,
      };
    } catch (error) {
      const exhausted =
        error instanceof ActivityFailure && error.retryState === RetryState.MAXIMUM_ATTEMPTS_REACHED;
      const attempts = exhausted
        ? before.attempts + attemptsMax
        : Math.max(before.attempts, failedAttempt(error));
      const handOver = handOverOf(error);
      if (!handOver) return { job, outcome: failedOutcome(error), attempts, exhausted };
      before = { attempts, handOvers: before.handOvers + 1, started: handOver.started };
    }
  }
}

function handOverOf(error: unknown): HandOver | undefined {
  const cause = error instanceof ActivityFailure ? error.cause : undefined;
  return cause instanceof ApplicationFailure ? (cause.details?.[2] as HandOver | undefined) : undefined;
}

/** The attempt that failed for good; 0 when none began. */
function failedAttempt(error: unknown): number {
  const cause = error instanceof ActivityFailure ? error.cause : undefined;
  return cause instanceof ApplicationFailure && typeof cause.details?.[1] === "number" ? cause.details[1] : 0;
}

/** What a failed inference activity means to the caller (contract §7.2). */
export function failedOutcome(error: unknown): Outcome {
  const metrics = {};
  const ended = (code: ErrorCode) => ({
    ok: false as const,
    error: { code, message: CATALOGUE[code].says },
    metrics,
  });
  if (isCancellation(error)) return ended("client_cancelled");
  const cause = error instanceof ActivityFailure ? error.cause : error;
  if (cause instanceof TimeoutFailure) {
    switch (cause.timeoutType) {
      case "SCHEDULE_TO_START":
        return { ...ended("startup_timeout"), userTimeout: true };
      case "HEARTBEAT":
        return ended("runner_disconnected");
      default:
        return ended("request_timeout");
    }
  }
  if (cause instanceof ApplicationFailure && isErrorCode(cause.type)) {
    const info = (cause.details?.[0] ?? { code: cause.type, message: cause.message }) as ErrorInfo;
    return { ok: false, error: info, metrics, ...(info.code === "startup_timeout" && { userTimeout: true }) };
  }
  return {
    ok: false,
    error: { code: "internal_error", message: cause instanceof Error ? cause.message : String(cause) },
    metrics,
  };
}

/** The finish step. */
export const recordOutcome = (ended: Ended): Promise<Outcome> =>
  untilDone("record the outcome", (activities) => activities.recordOutcome(ended));
