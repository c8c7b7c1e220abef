import type { Clock } from "./clock.ts";

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
