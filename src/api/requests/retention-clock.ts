import { LiveValue } from "../../core/concurrency/live-value.ts";
import { errorInfo } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { Log } from "../../core/operations/log.ts";
import { hasPassed, type RetentionTimes, timesOf } from "../../core/operations/retention.ts";
import type { RetentionStore } from "../../core/operations/retention-store.ts";

/** The retention times of each owner, from memory. */
export interface RetentionClock {
  of(ownerId: string): RetentionTimes;
}

/** Keeps the retention times of all owners in memory, merged with the installation's when they are read. */
export async function createRetentionClock({
  retention,
  policy,
  log,
}: {
  retention: Pick<RetentionStore, "ownerTimes" | "onChange">;
  policy: RetentionTimes;
  log: Log;
}): Promise<RetentionClock & AsyncDisposable> {
  const defaults = timesOf(policy);
  const own = await LiveValue.start({
    read: async () =>
      new Map(
        [...(await retention.ownerTimes())].map(([ownerId, times]) => [ownerId, timesOf(policy, times)]),
      ),
    onChange: (listener) => retention.onChange(listener),
    everyMs: LIMITS.retentionCacheMs,
    onReadError: (error) =>
      log.debug(
        { err: errorInfo(error) },
        "the owners' retention times were not read; those read last stay valid",
      ),
  });
  return {
    of: (ownerId) => own.current.get(ownerId) ?? defaults,
    [Symbol.asyncDispose]: () => own[Symbol.asyncDispose](),
  };
}

/** Tells whether one of an owner's retention times has passed for a request; never for an unfinished one. */
export type HasPassed = (
  time: keyof RetentionTimes,
  ownerId: string,
  endedAtMs: number | undefined,
) => boolean;

export function createHasPassed({ times, clock }: { times: RetentionClock; clock: Clock }): HasPassed {
  return (time, ownerId, endedAtMs) =>
    endedAtMs !== undefined && hasPassed(times.of(ownerId)[time], endedAtMs, clock.nowMs());
}
