import { continueAsNew, proxyActivities, workflowInfo } from "@temporalio/workflow";
import type { RetentionActivities } from "../activities/index.ts";
import type { RetentionProgress } from "../core/operations/retention.ts";
import { ORCHESTRATOR_QUEUE, PRIORITY_KEY } from "../core/requests/job.ts";

/**
 * A sweep of expired or orphaned data (docs/retention.md). It runs step after step, each from where the last
 * one ended. Temporal keeps the progress, so a sweep whose orchestrator died continues there.
 *
 * Returns the number of deleted items of each kind. A schedule starts it and never runs two sweeps of one
 * kind at once.
 */
export async function retention(start: RetentionProgress): Promise<RetentionProgress["deleted"]> {
  const { retentionStep } = proxyActivities<RetentionActivities>({
    taskQueue: ORCHESTRATOR_QUEUE,
    startToCloseTimeout: "10m",
    heartbeatTimeout: "30s",
    // An attempt fails only while a store is unavailable.
    retry: { initialInterval: "1s", backoffCoefficient: 2, maximumInterval: "1m" },
    priority: { priorityKey: PRIORITY_KEY.low },
    summary: start.sweep,
  });
  let progress = start;
  while (!progress.done) {
    if (workflowInfo().continueAsNewSuggested) await continueAsNew<typeof retention>(progress);
    progress = await retentionStep(progress);
  }
  return progress.deleted;
}
