import { errorInfo } from "../core/errors/tempera-error.ts";
import { LIMITS } from "../core/limits.ts";
import type { Log } from "../core/ports/log.ts";
import type { RetentionStore } from "../core/ports/retention-store.ts";
import { type OwnTimes, type RetentionTimes, timesOf } from "../core/retention.ts";

/** How long each owner's things are kept, from memory. */
export interface RetentionClock {
  of(ownerId: string): RetentionTimes;
}

/**
 * Keeps the owners' times in memory: read at the start, again when Postgres says that one has changed, and now and then in case
 * that was not heard. While Postgres is away they stay as they were.
 */
export async function createRetentionClock({
  retention,
  policy,
  log,
}: {
  retention: Pick<RetentionStore, "ownTimes" | "onChange">;
  policy: RetentionTimes;
  log: Log;
}): Promise<RetentionClock & AsyncDisposable> {
  let own = new Map<string, OwnTimes>();
  const read = async (): Promise<void> => {
    own = await retention.ownTimes();
  };
  const readAgain = (): void => {
    read().catch((error) => log.debug({ err: errorInfo(error) }, "the owners' retention times were not read; they stay as they were"));
  };
  await read();
  const stop = await retention.onChange(readAgain);
  const timer = setInterval(readAgain, LIMITS.retentionCacheMs).unref();
  return {
    of: (ownerId) => timesOf(policy, own.get(ownerId)),
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await stop();
    },
  };
}
