export interface Clock {
  nowMs(): number;
}

/** The time of day: for what is stored and shown. It jumps when somebody sets it. */
export const systemClock: Clock = { nowMs: () => Date.now() };

/**
 * Time since the process began: for ages and waits, which no change of the time of day makes longer or
 * shorter.
 */
export const steadyClock: Clock = { nowMs: () => performance.now() };

/**
 * A clock for what is deleted at its time: the earlier of this machine's and the store's, and from then on
 * steady. A machine whose clock is ahead, or is set forward meanwhile, deletes nothing before its time. Good
 * for a while: take another one for the next batch of work.
 *
 * Rejects with `store_unavailable`.
 *
 * @param steady measures what has passed since
 */
export async function conservativeClock(
  clock: Clock,
  store: { nowMs(): Promise<number> },
  steady: Clock,
): Promise<Clock> {
  const theirsMs = await store.nowMs();
  const sinceMs = steady.nowMs();
  const startMs = Math.min(clock.nowMs(), theirsMs);
  return { nowMs: () => startMs + steady.nowMs() - sinceMs };
}
