/**
 * The activities of concurrency slots: a job acquires one before it runs, or joins its owner's queue, and
 * releases it at its end. The job at the head of the queue is granted a released slot and notified by a
 * signal. `src/maintenance/repair-concurrency-slots.ts` repairs what crashes leave.
 */
import { isTemperaError } from "../../core/errors/tempera-error.ts";
import type {
  ConcurrencySlotStore,
  SlotHolder,
  SlotRequest,
} from "../../core/owners/concurrency-slot-store.ts";
import type { Jobs } from "../../core/requests/jobs.ts";

export interface ConcurrencySlotDependencies {
  slots: ConcurrencySlotStore;
  jobs: Pick<Jobs, "grantSlot">;
}

/** Acquires a slot for a job, or a position in the queue. The activity returns true when it has the slot. */
export function createAcquireSlot(dependencies: ConcurrencySlotDependencies) {
  return async function acquireSlot(request: SlotRequest): Promise<boolean> {
    const { acquired, granted } = await dependencies.slots.acquireOrWait(request);
    await notifyGranted(dependencies, granted);
    return acquired;
  };
}

/** Releases a job's slot, or its position in the queue, and notifies the jobs that were granted one. */
export function createReleaseSlot(dependencies: ConcurrencySlotDependencies) {
  return async function releaseSlot(holder: SlotHolder): Promise<void> {
    await releaseAndNotify(dependencies, holder);
  };
}

/** Releases a slot and notifies the jobs that were granted one with that. */
export async function releaseAndNotify(
  dependencies: ConcurrencySlotDependencies,
  holder: SlotHolder,
): Promise<void> {
  await notifyGranted(dependencies, await dependencies.slots.release(holder));
}

/**
 * Notifies jobs that they were granted a slot. A job that has ended meanwhile has its slot released, and the
 * next job in the queue is notified. A job that cannot be reached now is notified by the periodic repair.
 */
export async function notifyGranted(
  dependencies: ConcurrencySlotDependencies,
  granted: SlotHolder[],
): Promise<void> {
  const { slots, jobs } = dependencies;
  for (let next = granted; next.length > 0; ) {
    const answers = await Promise.all(
      next.map(async (holder) => ({
        holder,
        alive: await jobs.grantSlot(holder).catch(undefinedIfUnreachable),
      })),
    );
    await slots.markNotified(answers.flatMap(({ holder, alive }) => (alive ? [holder.requestId] : [])));
    const ended = answers.flatMap(({ holder, alive }) => (alive === false ? [holder] : []));
    next = (await Promise.all(ended.map((holder) => slots.release(holder)))).flat();
  }
}

function undefinedIfUnreachable(error: unknown): undefined {
  if (!isTemperaError(error)) throw error;
  return undefined;
}
