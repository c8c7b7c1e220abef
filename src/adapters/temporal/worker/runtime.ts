import { DefaultLogger, Runtime } from "@temporalio/worker";
import type { Log } from "../../../core/operations/log.ts";
import { logFromSdk } from "./sdk-log.ts";

let installed = false;

/**
 * Configures Temporal's SDK for this process, before its first connection; a second call changes nothing. The
 * SDK's warnings go to `log`. The SDK handles no signals, since the roles stop in an order of their own.
 */
export function installRuntime(log: Log): void {
  if (installed) return;
  installed = true;
  const logger = new DefaultLogger("WARN", (entry) => logFromSdk(log, entry));
  Runtime.install({
    logger,
    shutdownSignals: [],
    telemetryOptions: { logging: { filter: { core: "WARN", other: "ERROR" }, forward: {} } },
  });
}
