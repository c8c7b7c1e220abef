import { proxyActivities, proxyLocalActivities } from "@temporalio/workflow";
import type { OrchestratorActivities } from "../activities/index.ts";
import { ORCHESTRATOR_QUEUE } from "../core/requests/job.ts";

/**
 * Calls an activity that a job cannot do without: as a local activity with two quick attempts, then, while
 * PostgreSQL is unavailable, as a durable activity that is retried until it succeeds.
 *
 * @param description of the step, for the Temporal UI
 * @param step calls one activity
 */
export async function runLocallyOrDurably<T>(
  description: string,
  step: (activities: OrchestratorActivities) => Promise<T>,
): Promise<T> {
  const local = proxyLocalActivities<OrchestratorActivities>({
    startToCloseTimeout: "5s",
    retry: { maximumAttempts: 2, initialInterval: "100ms" },
  });
  try {
    return await step(local);
  } catch {
    const durable = proxyActivities<OrchestratorActivities>({
      taskQueue: ORCHESTRATOR_QUEUE,
      startToCloseTimeout: "30s",
      retry: { initialInterval: "500ms", backoffCoefficient: 1.5, maximumInterval: "10s" },
      summary: `${description} (stores were unavailable)`,
    });
    return step(durable);
  }
}
