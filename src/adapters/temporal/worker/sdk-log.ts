import type { LogEntry } from "@temporalio/worker";
import { CATALOGUE, isErrorCode } from "../../../core/errors/catalogue.ts";
import type { Log } from "../../../core/operations/log.ts";

/**
 * Workflows that close as failed to tell an outcome (decision 6), and the level of that line. A job's finish
 * step logs its outcome by itself, with the code.
 */
const OUTCOME_WORKFLOWS = new Map<unknown, "debug" | "info">([
  ["inferenceJob", "debug"],
  ["pipeline", "debug"],
  ["realtimeSession", "debug"],
  ["webhookDelivery", "info"],
]);

/**
 * Logs a line of Temporal's SDK. An attempt that failed by its input, its time or its caller is an ordinary
 * outcome, at info with its error code, and so is one that a stopping worker hands over. What failed by the
 * platform or by a model stays a warning.
 */
export function logFromSdk(
  log: Log,
  { level, message, meta }: Pick<LogEntry, "level" | "message" | "meta">,
): void {
  if (message.startsWith("No workflows registered")) return; // GPU workers have none, on purpose
  const { workflowId, workflowType, activityType, attempt, taskQueue, durationMs, error } = (meta ??
    {}) as Record<string, unknown>;
  const fields = {
    ...(workflowId !== undefined && { requestId: workflowId }),
    ...(activityType === undefined ? { workflowType } : { activityType, attempt, durationMs }),
    taskQueue,
  };
  const outcome = message === "Activity failed" ? ordinaryOutcome(error) : undefined;
  if (outcome) {
    log.info({ ...fields, ...outcome }, "an attempt failed");
    return;
  }
  const isRetried = /^gRPC call .* retried/.test(message); // an error of the SDK from some retry on
  const outcomeLevel = message === "Workflow failed" ? OUTCOME_WORKFLOWS.get(workflowType) : undefined;
  const withError = { ...fields, ...(error !== undefined && { err: error }) };
  log[outcomeLevel ?? (level === "ERROR" && !isRetried ? "error" : "warn")](
    withError,
    `temporal: ${message}`,
  );
}

/** Describes an ordinary failure; undefined for one that an operator should look at. */
function ordinaryOutcome(error: unknown): object | undefined {
  const { type: code, message: reason, details } = (error ?? {}) as Record<string, unknown>;
  if (!isErrorCode(code)) return undefined;
  const [, , handOver] = Array.isArray(details) ? (details as unknown[]) : [];
  if (typeof handOver === "object" && handOver !== null && "handedOver" in handOver)
    return { outcome: "handed over", code, reason };
  const { status } = CATALOGUE[code];
  return status < 500 || status === 504 ? { outcome: "failed", code, reason } : undefined;
}
