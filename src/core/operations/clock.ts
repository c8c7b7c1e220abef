/** A clock tells milliseconds. Code takes one as a dependency, so that tests can set the time. */
export interface Clock {
  nowMs(): number;
}

/** The time of day, for times that are stored or shown. It jumps when the machine's clock is set. */
export const systemClock: Clock = { nowMs: () => Date.now() };

/** Time since the process started, for ages and waits, which no change of the time of day affects. */
export const steadyClock: Clock = { nowMs: () => performance.now() };

/**
 * Makes a clock for deletions: it starts at the earlier of this machine's time and the store's, and is
 * steady from then on. A machine whose clock is ahead, or is set forward meanwhile, so deletes nothing too
 * early. Make a new one for each batch of work. Rejects with `store_unavailable`.
 *
 * @param steady measures the time since the start
 */
export async function conservativeClock(
  clock: Clock,
  store: { nowMs(): Promise<number> },
  steady: Clock,
): Promise<Clock> {
  const storeMs = await store.nowMs();
  const sinceMs = steady.nowMs();
  const startMs = Math.min(clock.nowMs(), storeMs);
  return { nowMs: () => startMs + steady.nowMs() - sinceMs };
}
