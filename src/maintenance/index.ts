/**
 * Maintenance: periodic work of the orchestrator that is no activity of a workflow.
 *
 * It is a `PeriodicTask` when a run is short, needs no memory of the run before it, and may be made by
 * several orchestrators at once: the next run, here or in another process, repairs whatever one left. It is a
 * Temporal schedule (`retention`, `usageReconciliation`) when a run is long and must continue where it was
 * after a crash, when exactly one may run at a time, or when operators should see each run and its result.
 */
import { PeriodicTask } from "../core/concurrency/periodic-task.ts";
import { LIMITS } from "../core/limits.ts";
import { type Clock, conservativeClock, steadyClock } from "../core/operations/clock.ts";
import type { Log } from "../core/operations/log.ts";
import type { RetentionStore } from "../core/operations/retention-store.ts";
import type { NodeResultStore } from "../core/pipelines/node-result-store.ts";
import type { ClaimStore } from "../core/requests/idempotency-store.ts";
import { type CheckRolloutsDependencies, checkRollouts } from "./check-rollouts.ts";
import { type FinishWithdrawalsDependencies, finishWithdrawals } from "./finish-withdrawals.ts";
import {
  notifyWaitingJobs,
  type RepairSlotsDependencies,
  releaseLostSlots,
} from "./repair-concurrency-slots.ts";
import { type SweepFilesDependencies, sweepFiles } from "./sweep-files.ts";
import { sweepClaims } from "./sweep-idempotency-claims.ts";

export interface MaintenanceDependencies
  extends Omit<SweepFilesDependencies, "retention">,
    CheckRolloutsDependencies,
    RepairSlotsDependencies,
    FinishWithdrawalsDependencies {
  jobs: RepairSlotsDependencies["jobs"] & FinishWithdrawalsDependencies["jobs"];
  retention: Pick<RetentionStore, "count" | "nowMs">;
  nodeResults: Pick<NodeResultStore, "sweep">;
  claims: Pick<ClaimStore, "sweep">;
  clock: Clock;
  log: Log;
}

/** Starts all maintenance tasks. `stop` resolves when the runs under way have ended. */
export function startMaintenance(dependencies: MaintenanceDependencies): { stop(): Promise<void> } {
  const { log, clock, retention, nodeResults } = dependencies;
  const every = (everyMs: number, description: string, run: () => Promise<unknown>): PeriodicTask =>
    new PeriodicTask(run, { everyMs, description, log });
  const tasks = [
    every(LIMITS.sweepMs, "sweeping files", async () =>
      sweepFiles({ ...dependencies, clock: await conservativeClock(clock, retention, steadyClock) }),
    ),
    every(LIMITS.sweepMs, "sweeping node results", () => nodeResults.sweep(clock.nowMs())),
    every(LIMITS.claimSweepMs, "sweeping idempotency claims", () => sweepClaims(dependencies)),
    every(LIMITS.withdrawalSweepMs, "finishing withdrawals", () => finishWithdrawals(dependencies)),
    every(LIMITS.slotSweepMs, "notifying jobs of granted slots", () => notifyWaitingJobs(dependencies)),
    every(LIMITS.slotCheckMs, "releasing lost slots", () => releaseLostSlots(dependencies)),
    every(LIMITS.rolloutCheckMs, "checking rollouts", () =>
      checkRollouts(dependencies, LIMITS.rolloutCheckMs),
    ),
  ];
  return {
    async stop() {
      await Promise.all(tasks.map((task) => task.stop()));
    },
  };
}
