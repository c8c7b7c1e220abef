import { DefaultLogger, Runtime } from "@temporalio/worker";
import type { Log } from "../../../core/operations/log.ts";

let installed = false;

/**
 * Configures Temporal's SDK for this process, before its first connection; a second call changes nothing. The
 * SDK's warnings go to `log`. The SDK handles no signals, since the roles stop in an order of their own.
 */
export function installRuntime(log: Log): void {
  if (installed) return;
  installed = true;
  const logger = new DefaultLogger("WARN", ({ level, message, meta }) => {
    if (message.startsWith("No workflows registered")) return; // GPU workers have none, on purpose
    const { workflowId, activityType, attempt, taskQueue, error } = (meta ?? {}) as Record<string, unknown>;
    const fields = {
      ...(workflowId !== undefined && { requestId: workflowId }),
      activityType,
      attempt,
      taskQueue,
      ...(error !== undefined && { err: error }),
    };
    log[level === "ERROR" ? "error" : "warn"](fields, `temporal: ${message}`);
  });
  Runtime.install({
    logger,
    shutdownSignals: [],
    telemetryOptions: { logging: { filter: { core: "WARN", other: "ERROR" }, forward: {} } },
  });
}
