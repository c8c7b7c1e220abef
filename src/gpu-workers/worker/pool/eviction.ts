/** Eviction of engines: which idle ones are unloaded when another model needs the memory of the device. */

/** A holder of device memory that can be evicted. */
export interface Resident {
  needMiB: number;
  /** Evicted only when the others are not enough. */
  pinned: boolean;
  lastUsedMs: number;
}

/**
 * Chooses which of the idle residents to evict so that `needMiB` fits into `freeMiB`: the least recently used
 * first, the pinned last, and none that can stay. Returns `undefined` when evicting all of them is not
 * enough.
 */
export function evictionCandidates<T extends Resident>(
  needMiB: number,
  freeMiB: number,
  idle: readonly T[],
): T[] | undefined {
  let missingMiB = needMiB - freeMiB;
  const candidates: T[] = [];
  const order = [...idle].sort((a, b) => Number(a.pinned) - Number(b.pinned) || a.lastUsedMs - b.lastUsedMs);
  for (const resident of order) {
    if (missingMiB <= 0) break;
    candidates.push(resident);
    missingMiB -= resident.needMiB;
  }
  if (missingMiB > 0) return undefined;
  // A large candidate chosen late may make earlier small ones unnecessary. The most valuable are spared
  // first.
  for (const resident of [...candidates].reverse()) {
    if (missingMiB + resident.needMiB > 0) continue;
    candidates.splice(candidates.indexOf(resident), 1);
    missingMiB += resident.needMiB;
  }
  return candidates;
}
