/** One call of a model and its outcome: what a job and a node of a pipeline have in common. */
import { RetryState } from "@temporalio/common";
import {
  ActivityFailure,
  ApplicationFailure,
  isCancellation,
  patched,
  proxyActivities,
  sleep,
  TimeoutFailure,
} from "@temporalio/workflow";
import type { GpuActivities, OrchestratorActivities } from "../activities/index.ts";
import { CATALOGUE, type ErrorCode, isErrorCode } from "../core/errors/catalogue.ts";
import type { ErrorInfo } from "../core/errors/tempera-error.ts";
import {
  type HandOver,
  type JobSpec,
  type PreviousAttempts,
  priorityOf,
  type StoreGivenUp,
} from "../core/requests/job.ts";
import type { Outcome } from "../core/requests/request.ts";
import { runLocallyOrDurably } from "./durable-local-activity.ts";

/** The argument of the finish step, `recordOutcome`. */
export type EndedJob = Parameters<OrchestratorActivities["recordOutcome"]>[0];

/** Work that has ended. With `recorded`, its outcome is in PostgreSQL already. */
export type FinishedWork = EndedJob & { recorded?: boolean };

/** The name of an activity in Temporal, where its workflow calls more than one. */
interface ActivityNames {
  activityId?: string;
  summary: string;
}

/** The name in histories of the pause before a job that waits for a store is tried again. */
const STORE_WAIT = "store-wait";

/**
 * Calls the inference activity on the job's task queue, and calls it again whenever a GPU worker hands the
 * job over, after a pause when a store was the reason. Never rejects: a failure is an outcome.
 */
export async function runInference(
  job: JobSpec,
  names: ActivityNames = { summary: `${job.endpoint} ${job.version}` },
): Promise<FinishedWork> {
  let before: PreviousAttempts = {
    attempts: 0,
    handOvers: 0,
    started: false,
    storeWaits: { times: 0, waitedMs: 0 },
  };
  for (;;) {
    const attemptsMax = job.retry.attemptsMax - (before.attempts - before.handOvers);
    try {
      const result = await inferActivity(job, before, attemptsMax, names)(job, before);
      return {
        job,
        outcome: result.outcome,
        attempts: result.attempt,
        ...(result.startedAtMs !== undefined && { startedAtMs: result.startedAtMs }),
        recorded: result.recorded === true,
        soleAttempt: result.attempt === 1,
        exhausted: false,
      };
    } catch (error) {
      const usedUp =
        error instanceof ActivityFailure && error.retryState === RetryState.MAXIMUM_ATTEMPTS_REACHED;
      const attempts = usedUp
        ? before.attempts + attemptsMax
        : Math.max(before.attempts, failedAttempt(error));
      const handOver = handOverOf(error);
      if (!handOver) {
        const exhausted = usedUp || isGivenUp(error);
        // A timeout or a cancel says nothing of what the attempt did before.
        const soleAttempt = before.attempts === 0 && failedAttempt(error) === 1;
        return { job, outcome: failedOutcome(error), attempts, exhausted, soleAttempt };
      }
      const { started, storeWait } = handOver;
      const storeWaits = storeWait?.storeWaits ?? before.storeWaits;
      before = { attempts, handOvers: before.handOvers + 1, started, ...(storeWaits && { storeWaits }) };
      // A version of this workflow without the pause may have begun to handle the failure.
      if (storeWait && patched(STORE_WAIT)) {
        const cancelled = await sleep(storeWait.delayMs).catch((reason: unknown) => reason);
        if (cancelled) return { job, outcome: failedOutcome(cancelled), attempts, exhausted: false };
      }
    }
  }
}

/** The inference activity with the job's timeouts and the attempts that are left. */
function inferActivity(
  job: JobSpec,
  before: PreviousAttempts,
  attemptsMax: number,
  names: ActivityNames,
): GpuActivities["infer"] {
  const { startTimeoutMs, submittedAtMs, retry, timeouts } = job;
  const { infer } = proxyActivities<GpuActivities>({
    taskQueue: job.taskQueue,
    startToCloseTimeout: timeouts.runMs,
    heartbeatTimeout: timeouts.heartbeatMs,
    ...(startTimeoutMs !== undefined &&
      !before.started && {
        scheduleToStartTimeout: Math.max(1, submittedAtMs + startTimeoutMs - Date.now()),
      }),
    retry: {
      maximumAttempts: attemptsMax,
      initialInterval: retry.initialMs,
      backoffCoefficient: retry.backoff,
      maximumInterval: Math.max(retry.maximumMs, retry.initialMs),
    },
    priority: priorityOf(job),
    cancellationType: "TRY_CANCEL",
    ...names,
  });
  return infer;
}

function handOverOf(error: unknown): HandOver | undefined {
  const detail = thirdDetail(error);
  return detail && "handedOver" in detail ? detail : undefined;
}

/** Tells whether the job has waited for a store for as long as it may, which is the end of its attempts. */
function isGivenUp(error: unknown): boolean {
  const detail = thirdDetail(error);
  return detail !== undefined && "exhausted" in detail;
}

function thirdDetail(error: unknown): HandOver | StoreGivenUp | undefined {
  const cause = error instanceof ActivityFailure ? error.cause : undefined;
  return cause instanceof ApplicationFailure
    ? (cause.details?.[2] as HandOver | StoreGivenUp | undefined)
    : undefined;
}

/** The number of the attempt that failed finally; 0 when no attempt began. */
function failedAttempt(error: unknown): number {
  const cause = error instanceof ActivityFailure ? error.cause : undefined;
  return cause instanceof ApplicationFailure && typeof cause.details?.[1] === "number" ? cause.details[1] : 0;
}

/** Translates the failure of an inference activity into the caller's outcome (contract §7.2). */
export function failedOutcome(error: unknown): Outcome {
  if (isCancellation(error)) return catalogueOutcome("client_cancelled");
  const cause = error instanceof ActivityFailure ? error.cause : error;
  if (cause instanceof TimeoutFailure) {
    switch (cause.timeoutType) {
      case "SCHEDULE_TO_START":
        return { ...catalogueOutcome("startup_timeout"), userTimeout: true };
      case "HEARTBEAT":
        return catalogueOutcome("runner_disconnected");
      default:
        return catalogueOutcome("request_timeout");
    }
  }
  const metrics = {};
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

/** The outcome of work that failed with the catalogue's own message. */
export function catalogueOutcome(code: ErrorCode, details: Partial<ErrorInfo> = {}): Outcome & { ok: false } {
  return { ok: false, error: { code, message: CATALOGUE[code].message, ...details }, metrics: {} };
}

/** The finish step of every job: records its outcome and returns the outcome that stands. */
export function recordOutcome(ended: EndedJob): Promise<Outcome> {
  return runLocallyOrDurably("record the outcome", (activities) => activities.recordOutcome(ended));
}
