/**
 * The number of items that one pass is worth on this device: measured, since it depends on the network, the
 * shape and the device.
 */
import { PASS_MS_MAX } from "../runtime/network-rows.ts";

export interface ProfiledBatch {
  items: number;
  /** Milliseconds of one pass; the best of a few tries. */
  passMs: number;
}

/** More items must bring the time of each below this share; else they only make every run wait longer. */
const GAIN = 0.98;
/** Further measurements of each size. */
const EXTRA_TRIES = 2;

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
    // The first pass of a size also allocates its memory.
    const passMs = Math.min(await time(items), await time(items));
    profile.push({ items, passMs });
    if (passMs > PASS_MS_MAX) break;
  }
  // All sizes again, alternating: a machine that is busy for a moment slows one try of each size, not all
  // tries of one.
  for (let i = 0; i < EXTRA_TRIES; i++)
    for (const entry of profile) entry.passMs = Math.min(entry.passMs, await time(entry.items));
  return profile;
}

/**
 * Chooses the smallest number of items at which the time of each is within 2 % of the best, among passes that
 * are short enough.
 */
export function worthwhileItems(profile: readonly ProfiledBatch[]): number {
  const candidates = profile.filter(({ items, passMs }) => items === 1 || passMs <= PASS_MS_MAX);
  const best = Math.min(...candidates.map(({ items, passMs }) => passMs / items));
  return candidates.find(({ items, passMs }) => passMs / items <= best / GAIN)?.items ?? 1;
}
