import type { JobSpec } from "../core/requests/job.ts";
import type { Outcome } from "../core/requests/request.ts";
import { closeJob } from "./close-job.ts";
import { runInference } from "./inference.ts";
import { withSlot } from "./with-slot.ts";

/**
 * The job of one request (design §4): one inference activity on its model's task queue, in one of its owner's
 * concurrency slots where the owner has a limit, then the finish step, unless the GPU worker that had the
 * output has recorded it already.
 *
 * Returns an outcome that has an output. Closes as cancelled or failed otherwise, so that the Temporal UI
 * shows the job's state; the first detail of the failure is the outcome.
 */
export async function inferenceJob(job: JobSpec): Promise<Outcome> {
  return closeJob(await withSlot(job, () => runInference(job)));
}
