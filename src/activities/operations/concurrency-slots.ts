import { PeriodicTask } from "../../core/concurrency/periodic-task.ts";
import { isTemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Log } from "../../core/operations/log.ts";
import type { ConcurrencySlotStore, SlotRequest } from "../../core/owners/concurrency-slot-store.ts";
import type { Jobs } from "../../core/requests/jobs.ts";

export interface ConcurrencySlotDependencies {
  slots: ConcurrencySlotStore;
  jobs: Pick<Jobs, "describe" | "grantSlot">;
}

/** Tells jobs that their turn has come. One that has ended meanwhile gives its place back, to the next. */
async function tell(
  parts: ConcurrencySlotDependencies,
  requestIds: { requestId: string; ownerId: string }[],
): Promise<void> {
  for (let next = requestIds; next.length > 0; ) {
    const answers = await Promise.all(
      next.map(async (each) => ({ each, alive: await parts.jobs.grantSlot(each.requestId).catch(unheard) })),
    );
    // Who could not be told now is told by the sweep.
    await parts.slots.notified(answers.flatMap(({ each, alive }) => (alive ? [each.requestId] : [])));
    const over = answers.flatMap(({ each, alive }) => (alive === false ? [each] : []));
    next = (await Promise.all(over.map((each) => leave(parts, each)))).flat();
  }
}

const unheard = (error: unknown): undefined => {
  if (!isTemperaError(error)) throw error;
  return undefined;
};

const leave = async (
  { slots: places }: ConcurrencySlotDependencies,
  { requestId, ownerId }: Pick<SlotRequest, "requestId" | "ownerId">,
) => (await places.release({ requestId, ownerId })).map((granted) => ({ requestId: granted, ownerId }));

/** Takes a place for a job, or a turn in the line; true when it has the place. */
export const createAcquireSlot = (parts: ConcurrencySlotDependencies) =>
  async function enterPlace(seeker: SlotRequest): Promise<boolean> {
    const { acquired: mine, granted } = await parts.slots.acquireOrWait(seeker);
    await tell(
      parts,
      granted.map((requestId) => ({ requestId, ownerId: seeker.ownerId })),
    );
    return mine;
  };

/** Gives a job's place back and tells whose turn has come. */
export const createReleaseSlot = (parts: ConcurrencySlotDependencies) =>
  async function leavePlace(left: Pick<SlotRequest, "requestId" | "ownerId">): Promise<void> {
    await tell(parts, await leave(parts, left));
  };

/** Places looked at between two questions to the database. */
const BATCH = 100;

/**
 * Tells jobs that have a place and were not told, and gives out what a raised limit has made. Any number of
 * processes may do it at once.
 */
const tellUntold = async (parts: ConcurrencySlotDependencies): Promise<void> =>
  tell(parts, await parts.slots.unnotified());

/**
 * Gives back the places of jobs that are over or never began, which a crash has left. Returns how many they
 * were.
 */
export async function releaseLostSlots(parts: ConcurrencySlotDependencies): Promise<number> {
  let freed = 0;
  for (let afterTurn = 0; ; ) {
    const old = await parts.slots.heldSince(LIMITS.placeCheckMs, afterTurn, BATCH);
    for (const each of old) {
      const job = await parts.jobs.describe(each.requestId);
      if (job && job.state !== "COMPLETED") continue;
      await tell(parts, await leave(parts, each));
      freed++;
    }
    if (old.length < BATCH) return freed;
    afterTurn = old.at(-1)?.position ?? 0;
  }
}

/** Puts right what crashes have left, until the returned function is called. */
export function keepPlacesRight({
  log,
  ...parts
}: ConcurrencySlotDependencies & { log: Log }): () => Promise<void> {
  const tasks = [
    new PeriodicTask(() => tellUntold(parts), {
      everyMs: LIMITS.placeSweepMs,
      description: "notifying jobs of granted slots",
      log,
    }),
    new PeriodicTask(() => releaseLostSlots(parts), {
      everyMs: LIMITS.placeCheckMs,
      description: "releasing lost slots",
      log,
    }),
  ];
  return async () => {
    await Promise.all(tasks.map((task) => task.stop()));
  };
}
