import { proxyActivities } from "@temporalio/workflow";
import type { UsageActivities } from "../activities/index.ts";
import { ORCHESTRATOR_QUEUE, PRIORITY_KEY } from "../core/requests/job.ts";
import type { UsageCheck } from "../core/owners/usage-ledger.ts";

/** The window that a look covers. */
export interface ReconciliationWindow {
  /** Its length. Longer than the time between two looks, so that a late one leaves no gap. */
  windowMs: number;
  /** How long ago it ends: what has closed in between may not show in Temporal's list yet. */
  lagMs: number;
}

/**
 * Looks at the usage ledger beside Temporal, for the requests that ended within a window (docs/usage.md).
 * Returns what it found.
 */
export async function usageReconciliation({ windowMs, lagMs }: ReconciliationWindow): Promise<UsageCheck> {
  const { reconcileUsage } = proxyActivities<UsageActivities>({
    taskQueue: ORCHESTRATOR_QUEUE,
    startToCloseTimeout: "30m",
    heartbeatTimeout: "60s",
    retry: { initialInterval: "1s", backoffCoefficient: 2, maximumInterval: "1m" },
    priority: { priorityKey: PRIORITY_KEY.low },
    summary: "usage ledger",
  });
  const untilMs = Date.now() - lagMs;
  return reconcileUsage({ fromMs: untilMs - windowMs, untilMs });
}
