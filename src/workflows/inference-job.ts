import type { JobSpec } from "../core/requests/job.ts";
import type { Outcome } from "../core/requests/request.ts";
import { closeJob } from "./close-job.ts";
import { runInference } from "./inference.ts";
import { inPlace } from "./with-slot.ts";

/**
 * The job of one request (design §4): one inference activity on its model's task queue, then the finish step,
 * unless the worker that had the output could take it already.
 *
 * Returns the outcome when it is an output. Closes as cancelled, or as failed with the outcome as the
 * failure's first detail, otherwise, so that the Temporal UI tells the truth about it.
 */
export async function inferenceJob(job: JobSpec): Promise<Outcome> {
  return closeJob(await inPlace(job, () => runInference(job)));
}
