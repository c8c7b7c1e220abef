import { TemperaError } from "../../core/errors/tempera-error.ts";
import { type JobSpec, PRIORITY_KEY } from "../../core/requests/job.ts";
import type { ApiDependencies } from "../dependencies.ts";

/**
 * Acquires one of its owner's concurrency slots for a direct run, when the owner has a limit on them; the job
 * releases it at its end. Rejects with `concurrent_requests_limit` when all are in use, and with
 * `store_unavailable` when that cannot be known: an outage does not lift a limit.
 */
export async function acquireSlot({ slots }: Pick<ApiDependencies, "slots">, job: JobSpec): Promise<void> {
  if (job.place !== "holds") return;
  const { requestId, ownerId, priority } = job;
  if (await slots.acquire({ requestId, ownerId, priority: PRIORITY_KEY[priority] })) return;
  throw new TemperaError(
    "concurrent_requests_limit",
    "You have as many requests in progress as you may. " +
      "Wait for one to end, or submit to the queue: requests wait there.",
  );
}
