import { LRUCache } from "lru-cache";
import { LIMITS } from "../../core/limits.ts";

/** The owners that had a call refused within the last `LIMITS.refusedRecentlyMs`. */
export interface RecentRefusals {
  add(ownerId: string): void;
  has(ownerId: string): boolean;
}

export function createRecentRefusals(nowMs: () => number = () => performance.now()): RecentRefusals {
  const refusedAtMs = new LRUCache<string, number>({ max: LIMITS.limitsCachedMax });
  return {
    add: (ownerId) => void refusedAtMs.set(ownerId, nowMs()),
    has: (ownerId) =>
      nowMs() - (refusedAtMs.get(ownerId) ?? Number.NEGATIVE_INFINITY) < LIMITS.refusedRecentlyMs,
  };
}
