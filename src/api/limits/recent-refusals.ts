import { LIMITS } from "../../core/limits.ts";

/** Remembers which owners had a call refused within the last `LIMITS.refusedLatelyMs`. */
export interface RefusedLately {
  add(ownerId: string): void;
  has(ownerId: string): boolean;
}

export function createRefusedLately(nowMs: () => number = () => performance.now()): RefusedLately {
  const refusedAtMs = new Map<string, number>();
  return {
    add(ownerId) {
      refusedAtMs.delete(ownerId);
      if (refusedAtMs.size >= LIMITS.allowancesRememberedMax)
        refusedAtMs.delete(refusedAtMs.keys().next().value as string);
      refusedAtMs.set(ownerId, nowMs());
    },
    has: (ownerId) =>
      nowMs() - (refusedAtMs.get(ownerId) ?? Number.NEGATIVE_INFINITY) < LIMITS.refusedLatelyMs,
  };
}
