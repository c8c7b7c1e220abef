import {
  type ConcurrencySlotDependencies,
  notifyGranted,
  releaseAndNotify,
} from "../activities/operations/concurrency-slots.ts";
import { LIMITS } from "../core/limits.ts";
import type { Jobs } from "../core/requests/jobs.ts";

export interface RepairSlotsDependencies extends ConcurrencySlotDependencies {
  jobs: Pick<Jobs, "describe" | "grantSlot">;
}

/** Slots that one query returns. */
const BATCH = 100;

/**
 * Grants the slots that a raised limit has added, and notifies the jobs that were granted one and not
 * notified. Several processes may do it at once.
 */
export async function notifyWaitingJobs(dependencies: ConcurrencySlotDependencies): Promise<void> {
  await notifyGranted(dependencies, await dependencies.slots.unnotified());
}

/**
 * Releases the slots of jobs that have ended or never started, which a crash has left. Returns the number of
 * released slots.
 */
export async function releaseLostSlots(dependencies: RepairSlotsDependencies): Promise<number> {
  const { slots, jobs } = dependencies;
  let released = 0;
  for (let position = 0; ; ) {
    const held = await slots.heldSince(LIMITS.slotCheckMs, position, BATCH);
    for (const holder of held) {
      // The slot of a node goes with its pipeline, which releases it otherwise.
      const job = await jobs.describe(holder.workflowId ?? holder.requestId);
      if (job && job.state !== "COMPLETED") continue;
      await releaseAndNotify(dependencies, holder);
      released++;
    }
    if (held.length < BATCH) return released;
    position = held.at(-1)?.position ?? 0;
  }
}
