import { errorInfo } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { Log } from "../../core/operations/log.ts";
import type { RetentionStore } from "../../core/operations/retention-store.ts";
import { hasPassed, type RetentionTimes, timesOf } from "../../core/operations/retention.ts";
import { keepInMemory } from "./invalidated-cache.ts";

/** How long each owner's things are kept, from memory. */
export interface RetentionClock {
  of(ownerId: string): RetentionTimes;
}

/** Keeps every owner's times in memory, worked out when they are read and not when they are asked for. */
export async function createRetentionClock({
  retention,
  policy,
  log,
}: {
  retention: Pick<RetentionStore, "ownTimes" | "onChange">;
  policy: RetentionTimes;
  log: Log;
}): Promise<RetentionClock & AsyncDisposable> {
  const usual = timesOf(policy);
  const own = await keepInMemory({
    read: async () =>
      new Map([...(await retention.ownTimes())].map(([ownerId, times]) => [ownerId, timesOf(policy, times)])),
    onChange: (listener) => retention.onChange(listener),
    everyMs: LIMITS.retentionCacheMs,
    unread: (error) =>
      log.debug(
        { err: errorInfo(error) },
        "the owners' retention times were not read; they stay as they were",
      ),
  });
  return {
    of: (ownerId) => own.current.get(ownerId) ?? usual,
    [Symbol.asyncDispose]: () => own[Symbol.asyncDispose](),
  };
}

/**
 * Tells whether a time of an owner's has passed for a request that ended then; never for one that has not.
 */
export const createPassed =
  ({ times, clock }: { times: RetentionClock; clock: Clock }) =>
  (time: keyof RetentionTimes, ownerId: string, endedAtMs: number | undefined): boolean =>
    endedAtMs !== undefined && hasPassed(times.of(ownerId)[time], endedAtMs, clock.nowMs());
