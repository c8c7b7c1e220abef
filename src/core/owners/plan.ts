/**
 * An allowance is what an owner or a key may use, and its share of the GPUs. A plan is an allowance by name;
 * every owner has one plan (`default` when nobody gave it another) and may have exceptions of its own, field
 * by field. A field that is absent limits nothing.
 */
export interface PlanLimits {
  /** Calls a second that take work in: submits, runs, streams. Below 1 is one call in so many seconds. */
  requestsPerSecond?: number;
  /** Calls beyond that, in a row; they come back at the same pace. */
  burst?: number;
  /**
   * Requests that run at once, wherever. More direct runs are refused; more queue requests wait, without an
   * engine's slot.
   */
  inProgress?: number;
  /** Queue requests that have not ended, running ones included. */
  queued?: number;
  /** Bytes uploaded within 24 hours. */
  uploadBytesPerDay?: number;
  /** Prices of the requests submitted since midnight UTC, in the currency of the price list. */
  spendPerDay?: number;
  /** The same since the first of the month, UTC. */
  spendPerMonth?: number;
  /**
   * Share of every GPU queue beside other owners' (1 when absent): with 2, two of its jobs go for one of
   * theirs.
   */
  weight?: number;
  /**
   * Submits with the same endpoint and input within so many seconds are one request, for clients that try
   * again blindly.
   */
  sameInputSeconds?: number;
}

/** What one key may have of its own, within what its owner has. */
export type KeyLimits = Pick<PlanLimits, "requestsPerSecond" | "burst" | "sameInputSeconds">;

export const DEFAULT_PLAN = "default";

export interface Plan {
  planId: string;
  limits: PlanLimits;
  updatedAtMs: number;
}

/** An owner somebody has said something about; all others have the default plan and no exceptions. */
export interface Owner {
  ownerId: string;
  planId: string;
  /** Exceptions: what is named here counts instead of the plan's. */
  limits: PlanLimits;
  updatedAtMs: number;
}

/** What each field of an allowance may be; the unit stands in its name. */
export const LIMIT_RANGES: Record<keyof PlanLimits, { min: number; max: number; whole: boolean }> = {
  requestsPerSecond: { min: 0.001, max: 100_000, whole: false },
  burst: { min: 0, max: 1_000_000, whole: true },
  inProgress: { min: 1, max: 100_000, whole: true },
  queued: { min: 0, max: 10_000_000, whole: true },
  uploadBytesPerDay: { min: 0, max: 2 ** 50, whole: true },
  spendPerDay: { min: 0, max: 1e12, whole: false },
  spendPerMonth: { min: 0, max: 1e12, whole: false },
  // Temporal takes weights from 0.001 to 1000.
  weight: { min: 0.001, max: 1000, whole: false },
  sameInputSeconds: { min: 0, max: 3600, whole: true },
};

export const KEY_LIMIT_FIELDS: readonly (keyof KeyLimits)[] = [
  "requestsPerSecond",
  "burst",
  "sameInputSeconds",
];
