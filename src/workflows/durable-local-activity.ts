import { proxyActivities, proxyLocalActivities } from "@temporalio/workflow";
import type { OrchestratorActivities } from "../activities/index.ts";
import { ORCHESTRATOR_QUEUE } from "../core/requests/job.ts";

/**
 * Takes a step that must be taken: quick local tries first; when Postgres is away, a durable activity that
 * tries until it is back.
 *
 * @param step calls one activity
 */
export async function untilDone<T>(
  what: string,
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
      summary: `${what} (stores were away)`,
    });
    return step(durable);
  }
}
