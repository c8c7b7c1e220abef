/**
 * A plan is a named set of limits on what an owner may use, with the owner's share of the GPUs. Every owner
 * has one plan (`default` unless it was given another one) and may have exceptions, field by field. An
 * absent field limits nothing.
 *
 * This folder has owners and their keys, the limits of both, and the ledger of what they used.
 */
export interface PlanLimits {
  /** Submits, runs and streams per second. A value below 1 allows one call in several seconds. */
  requestsPerSecond?: number;
  /** Calls that may exceed the rate in a row; they become available again at the same rate. */
  burst?: number;
  /**
   * Requests that run at once, on any model. Further direct runs are refused; further queue requests wait,
   * without occupying a slot of an engine.
   */
  inProgress?: number;
  /** Unfinished queue requests, running ones included. */
  queued?: number;
  /** Bytes uploaded within 24 hours. */
  uploadBytesPerDay?: number;
  /** Bytes of its files, uploaded and produced ones, and of those on their way. */
  storedBytes?: number;
  /** Number of its files, announced uploads included. */
  storedFiles?: number;
  /** Total price of the requests since midnight UTC, in the currency of the price list. */
  spendPerDay?: number;
  /** Total price since the first of the month, UTC. */
  spendPerMonth?: number;
  /**
   * Weight of the owner in every GPU queue (1 when absent): with weight 2, two of its jobs start for each
   * job of an owner with weight 1.
   */
  weight?: number;
  /**
   * Seconds within which submits with the same endpoint and input are one request, for clients that retry
   * without an idempotency key.
   */
  sameInputSeconds?: number;
  /**
   * New files can be read by their owner only, and answers have signed addresses of them, which expire;
   * unless the call, or the owner's own settings, name other readers.
   */
  privateFiles?: boolean;
}

/** The limits that are numbers. */
type NumericLimit = Exclude<keyof PlanLimits, "privateFiles">;

/** Limits that one key may have, in addition to those of its owner. */
export type KeyLimits = Pick<PlanLimits, "requestsPerSecond" | "burst" | "sameInputSeconds">;

export const DEFAULT_PLAN = "default";

export interface Plan {
  planId: string;
  limits: PlanLimits;
  updatedAtMs: number;
}

/** An owner with a plan or exceptions; all other owners have the default plan and no exceptions. */
export interface Owner {
  ownerId: string;
  planId: string;
  /** Exceptions, which count instead of the plan's limits. */
  limits: PlanLimits;
  updatedAtMs: number;
}

/** The allowed values of each limit; its unit is part of its name. */
export const LIMIT_RANGES: Record<NumericLimit, { min: number; max: number; whole: boolean }> = {
  requestsPerSecond: { min: 0.001, max: 100_000, whole: false },
  burst: { min: 0, max: 1_000_000, whole: true },
  inProgress: { min: 1, max: 100_000, whole: true },
  queued: { min: 0, max: 10_000_000, whole: true },
  uploadBytesPerDay: { min: 0, max: 2 ** 50, whole: true },
  storedBytes: { min: 0, max: 2 ** 53 - 1, whole: true },
  storedFiles: { min: 0, max: 1e12, whole: true },
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
