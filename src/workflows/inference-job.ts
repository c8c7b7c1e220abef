import { RetryState } from "@temporalio/common";
import {
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  isCancellation,
  ParentClosePolicy,
  proxyActivities,
  proxyLocalActivities,
  startChild,
  TimeoutFailure,
} from "@temporalio/workflow";
import type { GpuActivities, OrchestratorActivities } from "../activities/index.ts";
import { CATALOGUE, type ErrorCode, isErrorCode } from "../core/errors/catalogue.ts";
import type { ErrorInfo } from "../core/errors/tempera-error.ts";
import { type JobSpec, ORCHESTRATOR_QUEUE, PRIORITY_KEY, priorityOf } from "../core/job.ts";
import type { Outcome } from "../core/request.ts";
import { deliveryWorkflowId, fairnessKeyOf, type Webhook } from "../core/webhook.ts";
import { leavePlace, waitForPlace } from "./place.ts";
import { webhookDelivery } from "./webhook-delivery.ts";

/**
 * The job of one request (design §4): one inference activity on its model's task queue, then the finish step, unless the
 * worker that had the output could take it already.
 *
 * Returns the outcome when it is an output. Closes as cancelled, or as failed with the outcome as the failure's first detail,
 * otherwise, so that the Temporal UI tells the truth about it.
 */
export async function inferenceJob(job: JobSpec): Promise<Outcome> {
  const { recorded, ...ended } = job.place === undefined ? await runInference(job) : await runInPlace(job);
  const outcome = recorded ? ended.outcome : await CancellationScope.nonCancellable(() => recordOutcome(ended));
  const { webhook } = job;
  if (webhook) await CancellationScope.nonCancellable(() => startDelivery(job, webhook, outcome, ended.attempts));
  if (outcome.ok) return outcome;
  if (outcome.error.code === "client_cancelled") throw new CancelledFailure(outcome.error.message);
  throw ApplicationFailure.create({ type: outcome.error.code, message: outcome.error.message, nonRetryable: true, details: [outcome] });
}

type Ended = Parameters<OrchestratorActivities["recordOutcome"]>[0];

/** Runs it in one of its owner's places, and leaves that whatever came of it. */
async function runInPlace(job: JobSpec): ReturnType<typeof runInference> {
  try {
    if (job.place === "holds" || (await waitForPlace(job))) return await runInference(job);
    const error = { code: "startup_timeout" as const, message: CATALOGUE.startup_timeout.says };
    return { job, outcome: { ok: false, error, metrics: {}, userTimeout: true }, attempts: 0, exhausted: false };
  } catch (error) {
    return { job, outcome: failedOutcome(error), attempts: 0, exhausted: false };
  } finally {
    await CancellationScope.nonCancellable(() => leavePlace(job));
  }
}

async function runInference(job: JobSpec): Promise<Ended & { recorded?: boolean }> {
  const { infer } = proxyActivities<GpuActivities>({
    taskQueue: job.taskQueue,
    startToCloseTimeout: job.timeouts.runMs,
    heartbeatTimeout: job.timeouts.heartbeatMs,
    ...(job.startTimeoutMs !== undefined && { scheduleToStartTimeout: Math.max(1, job.submittedAtMs + job.startTimeoutMs - Date.now()) }),
    retry: {
      maximumAttempts: job.retry.attemptsMax,
      initialInterval: job.retry.initialMs,
      backoffCoefficient: job.retry.backoff,
      maximumInterval: Math.max(job.retry.maximumMs, job.retry.initialMs),
    },
    priority: priorityOf(job),
    cancellationType: "TRY_CANCEL",
    summary: `${job.endpoint} ${job.version}`,
  });
  try {
    const result = await infer(job);
    return {
      job,
      outcome: result.outcome,
      attempts: result.attempt,
      ...(result.startedAtMs !== undefined && { startedAtMs: result.startedAtMs }),
      recorded: result.recorded === true,
      exhausted: false,
    };
  } catch (error) {
    const exhausted = error instanceof ActivityFailure && error.retryState === RetryState.MAXIMUM_ATTEMPTS_REACHED;
    const attempts = exhausted ? job.retry.attemptsMax : failedAttempt(error);
    return { job, outcome: failedOutcome(error), attempts, exhausted };
  }
}

/** The attempt that failed for good; 0 when none began. */
function failedAttempt(error: unknown): number {
  const cause = error instanceof ActivityFailure ? error.cause : undefined;
  return cause instanceof ApplicationFailure && typeof cause.details?.[1] === "number" ? cause.details[1] : 0;
}

/** What a failed inference activity means to the caller (contract §7.2). */
function failedOutcome(error: unknown): Outcome {
  const metrics = {};
  const ended = (code: ErrorCode) => ({ ok: false as const, error: { code, message: CATALOGUE[code].says }, metrics });
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
  return { ok: false, error: { code: "internal_error", message: cause instanceof Error ? cause.message : String(cause) }, metrics };
}

/** Starts the delivery of the job's webhook, which outlives the job; waits only until Temporal has it. */
async function startDelivery(job: JobSpec, webhook: Webhook, outcome: Outcome, jobAttempts: number): Promise<void> {
  const { requestId, ownerId, endpoint, retryOf } = job;
  await startChild(webhookDelivery, {
    workflowId: deliveryWorkflowId(requestId),
    args: [{ ...webhook, requestId, ownerId, endpoint, outcome, jobAttempts, round: 1, ...(retryOf !== undefined && { retryOf }) }],
    parentClosePolicy: ParentClosePolicy.ABANDON,
    // Jobs that wait for their first step go first.
    priority: { priorityKey: PRIORITY_KEY.low, fairnessKey: fairnessKeyOf(webhook) },
    staticSummary: `webhook of ${endpoint}`,
  });
}

/** Quick local tries first; when Postgres is away, a durable activity that tries until it is back. */
async function recordOutcome(ended: Ended): Promise<Outcome> {
  const local = proxyLocalActivities<OrchestratorActivities>({
    startToCloseTimeout: "5s",
    retry: { maximumAttempts: 2, initialInterval: "100ms" },
  });
  try {
    return await local.recordOutcome(ended);
  } catch {
    const durable = proxyActivities<OrchestratorActivities>({
      taskQueue: ORCHESTRATOR_QUEUE,
      startToCloseTimeout: "30s",
      retry: { initialInterval: "500ms", backoffCoefficient: 1.5, maximumInterval: "10s" },
      summary: "record the outcome (stores were away)",
    });
    return durable.recordOutcome(ended);
  }
}
