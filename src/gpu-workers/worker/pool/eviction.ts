/** Who holds memory of the device, and could give it back. */
export interface Resident {
  needMiB: number;
  /** Goes only when the others are not enough. */
  pinned: boolean;
  lastUsedMs: number;
}

/**
 * Which of the idle ones have to leave so that `needMiB` fit into `freeMiB`: the least recently used first,
 * the pinned last, and none that need not. `undefined`: not even all of them would do.
 */
export function leaversFor<T extends Resident>(
  needMiB: number,
  freeMiB: number,
  idle: readonly T[],
): T[] | undefined {
  let missingMiB = needMiB - freeMiB;
  const chosen: T[] = [];
  const order = [...idle].sort((a, b) => Number(a.pinned) - Number(b.pinned) || a.lastUsedMs - b.lastUsedMs);
  for (const resident of order) {
    if (missingMiB <= 0) break;
    chosen.push(resident);
    missingMiB -= resident.needMiB;
  }
  if (missingMiB > 0) return undefined;
  // A large one chosen late may have made small ones before it unnecessary. The most precious are let off
  // first.
  for (const resident of [...chosen].reverse()) {
    if (missingMiB + resident.needMiB > 0) continue;
    chosen.splice(chosen.indexOf(resident), 1);
    missingMiB += resident.needMiB;
  }
  return chosen;
}
