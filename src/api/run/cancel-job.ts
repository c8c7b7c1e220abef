import { errorInfo } from "../../core/errors/tempera-error.ts";
import type { ApiDependencies } from "../dependencies.ts";

/** Cancels the job of a caller who disconnected, in the background. Failures are logged. */
export function cancelJob(
  { jobs, events, log }: Pick<ApiDependencies, "jobs" | "events" | "log">,
  requestId: string,
): void {
  // Temporal first, for the durable record; then the event that reaches the engine within milliseconds.
  jobs
    .cancel(requestId)
    .then(() => events.announceCancel(requestId))
    .catch((error) =>
      log.warn({ requestId, err: errorInfo(error) }, "the job of a disconnected caller was not cancelled"),
    );
}
