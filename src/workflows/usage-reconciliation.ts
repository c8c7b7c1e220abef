import { proxyActivities } from "@temporalio/workflow";
import type { UsageActivities } from "../activities/index.ts";
import type { UsageCheck } from "../core/owners/usage-ledger.ts";
import { ORCHESTRATOR_QUEUE, PRIORITY_KEY } from "../core/requests/job.ts";

/** The time window of one reconciliation. */
export interface ReconciliationWindow {
  /** Length. It exceeds the interval between two reconciliations, so that a late one leaves no gap. */
  windowMs: number;
  /** Age of the window's end: workflows that closed since then may not be in Temporal's list yet. */
  lagMs: number;
}

/**
 * Compares the usage ledger with Temporal for the requests that ended within the window (docs/usage.md).
 * Returns the differences.
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
