import { isTemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Jobs } from "../../core/requests/jobs.ts";
import type { Log } from "../../core/operations/log.ts";
import type { SlotRequest, ConcurrencySlotStore } from "../../core/owners/concurrency-slot-store.ts";
import { keepDoing } from "../../core/concurrency/periodic-task.ts";

export interface PlacesDependencies {
  places: ConcurrencySlotStore;
  jobs: Pick<Jobs, "describe" | "grantPlace">;
}

/** Tells jobs that their turn has come. One that has ended meanwhile gives its place back, to the next. */
async function tell(
  parts: PlacesDependencies,
  requestIds: { requestId: string; ownerId: string }[],
): Promise<void> {
  for (let next = requestIds; next.length > 0; ) {
    const answers = await Promise.all(
      next.map(async (each) => ({ each, alive: await parts.jobs.grantPlace(each.requestId).catch(unheard) })),
    );
    // Who could not be told now is told by the sweep.
    await parts.places.told(answers.flatMap(({ each, alive }) => (alive ? [each.requestId] : [])));
    const over = answers.flatMap(({ each, alive }) => (alive === false ? [each] : []));
    next = (await Promise.all(over.map((each) => leave(parts, each)))).flat();
  }
}

const unheard = (error: unknown): undefined => {
  if (!isTemperaError(error)) throw error;
  return undefined;
};

const leave = async (
  { places }: PlacesDependencies,
  { requestId, ownerId }: Pick<SlotRequest, "requestId" | "ownerId">,
) => (await places.leave({ requestId, ownerId })).map((granted) => ({ requestId: granted, ownerId }));

/** Takes a place for a job, or a turn in the line; true when it has the place. */
export const createEnterPlace = (parts: PlacesDependencies) =>
  async function enterPlace(seeker: SlotRequest): Promise<boolean> {
    const { mine, granted } = await parts.places.enter(seeker);
    await tell(
      parts,
      granted.map((requestId) => ({ requestId, ownerId: seeker.ownerId })),
    );
    return mine;
  };

/** Gives a job's place back and tells whose turn has come. */
export const createLeavePlace = (parts: PlacesDependencies) =>
  async function leavePlace(left: Pick<SlotRequest, "requestId" | "ownerId">): Promise<void> {
    await tell(parts, await leave(parts, left));
  };

/** Places looked at between two questions to the database. */
const BATCH = 100;

/**
 * Tells jobs that have a place and were not told, and gives out what a raised limit has made. Any number of
 * processes may do it at once.
 */
const tellUntold = async (parts: PlacesDependencies): Promise<void> =>
  tell(parts, await parts.places.untold());

/**
 * Gives back the places of jobs that are over or never began, which a crash has left. Returns how many they
 * were.
 */
export async function freeLostPlaces(parts: PlacesDependencies): Promise<number> {
  let freed = 0;
  for (let afterTurn = 0; ; ) {
    const old = await parts.places.old(LIMITS.placeCheckMs, afterTurn, BATCH);
    for (const each of old) {
      const job = await parts.jobs.describe(each.requestId);
      if (job && job.state !== "COMPLETED") continue;
      await tell(parts, await leave(parts, each));
      freed++;
    }
    if (old.length < BATCH) return freed;
    afterTurn = old.at(-1)?.turn ?? 0;
  }
}

/** Puts right what crashes have left, until the returned function is called. */
export function keepPlacesRight({ log, ...parts }: PlacesDependencies & { log: Log }): () => Promise<void> {
  const otherwise = "places were not looked at";
  const stops = [
    keepDoing(() => tellUntold(parts), { everyMs: LIMITS.placeSweepMs, otherwise, log }),
    keepDoing(() => freeLostPlaces(parts), { everyMs: LIMITS.placeCheckMs, otherwise, log }),
  ];
  return async () => {
    await Promise.all(stops.map((stop) => stop()));
  };
}
