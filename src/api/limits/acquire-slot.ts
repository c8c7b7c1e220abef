import { TemperaError } from "../../core/errors/tempera-error.ts";
import { PRIORITY_KEY } from "../../core/requests/job.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { Intake } from "../requests/submission.ts";

/**
 * Takes one of its owner's places for a direct run, where the owner has so many; the job gives it back at its
 * end. Rejects with `concurrent_requests_limit` when all are taken, and with `store_unavailable` when that
 * cannot be known: a limit is not lifted by an outage.
 */
export async function takePlace(
  { places }: Pick<ApiDependencies, "places">,
  { job, held }: Pick<Intake, "job" | "held">,
): Promise<void> {
  if (job.place !== "holds") return;
  const { requestId, ownerId, priority } = job;
  try {
    if (await places.take({ requestId, ownerId, priority: PRIORITY_KEY[priority] })) return;
    throw new TemperaError(
      "concurrent_requests_limit",
      "You have as many requests in progress as you may. Wait for one to end, or submit to the queue: requests wait there.",
    );
  } catch (error) {
    for (const each of held) each.drop();
    throw error;
  }
}
