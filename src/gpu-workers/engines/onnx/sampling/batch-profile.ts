/**
 * How many items of one pass are worth it on this device: measured, since it depends on the network, the
 * shape and the device.
 */

export interface ProfiledBatch {
  items: number;
  /** Of one pass; the best of a few. */
  passMs: number;
}

/**
 * A pass is not made longer than this for another item: the event loop waits for it, and cancels must be seen
 * within 300 ms.
 */
const PASS_MS_MAX = 150;
/**
 * Another item must bring the time of each below this share of the best, or it only makes everybody wait
 * longer.
 */
const GAIN = 0.98;
const TRIES_MORE = 2;

/**
 * Times passes of 1, 2, 4, … items up to `itemsMax`, and stops early where a pass gets too long.
 *
 * @param time runs one pass and resolves with the milliseconds it took
 */
export async function profileBatches(
  itemsMax: number,
  time: (items: number) => Promise<number>,
): Promise<ProfiledBatch[]> {
  const profile: ProfiledBatch[] = [];
  for (
    let items = 1;
    items <= itemsMax;
    items = items < itemsMax ? Math.min(items * 2, itemsMax) : items + 1
  ) {
    const passMs = Math.min(await time(items), await time(items)); // the first of a size also sets up its memory
    profile.push({ items, passMs });
    if (passMs > PASS_MS_MAX) break;
  }
  // All sizes once more, in turn: a machine that was busy for a moment slows one try of each, not all tries
  // of one.
  for (let i = 0; i < TRIES_MORE; i++)
    for (const one of profile) one.passMs = Math.min(one.passMs, await time(one.items));
  return profile;
}

/**
 * The smallest number of items at which the time of each is within a whisker of the best, among passes that
 * are short enough.
 */
export function worthwhileItems(profile: readonly ProfiledBatch[]): number {
  const candidates = profile.filter(({ items, passMs }) => items === 1 || passMs <= PASS_MS_MAX);
  const best = Math.min(...candidates.map(({ items, passMs }) => passMs / items));
  return candidates.find(({ items, passMs }) => passMs / items <= best / GAIN)?.items ?? 1;
}
