import { continueAsNew, proxyActivities, workflowInfo } from "@temporalio/workflow";
import type { RetentionActivities } from "../activities/index.ts";
import { ORCHESTRATOR_QUEUE, PRIORITY_KEY } from "../core/requests/job.ts";
import type { RetentionProgress } from "../core/operations/retention.ts";

/**
 * A sweep of what has lived its time, or of what nothing names any more (docs/retention.md): step after step
 * from where the last one came to. Temporal keeps how far it is, so that a sweep whose orchestrator died goes
 * on there.
 *
 * Returns what was deleted, by kind. A schedule starts it; two of a kind never run at once.
 */
export async function retention(given: RetentionProgress): Promise<RetentionProgress["deleted"]> {
  const { retentionStep } = proxyActivities<RetentionActivities>({
    taskQueue: ORCHESTRATOR_QUEUE,
    startToCloseTimeout: "10m",
    heartbeatTimeout: "30s",
    // What fails here are stores that are away.
    retry: { initialInterval: "1s", backoffCoefficient: 2, maximumInterval: "1m" },
    priority: { priorityKey: PRIORITY_KEY.low },
    summary: given.sweep,
  });
  let progress = given;
  while (!progress.done) {
    if (workflowInfo().continueAsNewSuggested) await continueAsNew<typeof retention>(progress);
    progress = await retentionStep(progress);
  }
  return progress.deleted;
}
