import { errorInfo } from "../../core/errors/tempera-error.ts";
import type { ApiDependencies } from "../dependencies.ts";

/** Cancels the job of a caller who left. Nobody waits for it: what goes wrong is logged. */
export function cancelJob(
  { jobs, events, log }: Pick<ApiDependencies, "jobs" | "events" | "log">,
  requestId: string,
): void {
  // Temporal first: the durable record. Then the word that reaches the engine within milliseconds.
  jobs
    .cancel(requestId)
    .then(() => events.announceCancel(requestId))
    .catch((error) =>
      log.warn({ requestId, err: errorInfo(error) }, "the job of a caller who left was not cancelled"),
    );
}
