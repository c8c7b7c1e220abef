import type { UsageEntry } from "./usage.ts";

/** Selects entries of the ledger. An absent list selects all. */
export interface UsageQuery {
  /** Inclusive. */
  startMs: number;
  /** Exclusive. */
  endMs: number;
  ownerId?: string;
  endpoints?: string[];
  keyIds?: string[];
  requestIds?: string[];
}

export const TIMEFRAMES = ["minute", "hour", "day", "week", "month"] as const;
export type Timeframe = (typeof TIMEFRAMES)[number];

/** The sum of the entries with one price. */
export interface UsageSum {
  endpoint: string;
  unit: string;
  unitPrice: number;
  currency: string;
  /** Number of units. */
  quantity: number;
  cost: number;
  /** Number of entries. */
  requests: number;
  /** Number of entries with an output. */
  results: number;
  deviceSeconds: number;
  attempts: number;
  attemptsUncounted: number;
}

export interface UsageBucket extends UsageSum {
  /** Begin of the bucket. */
  atMs: number;
}

export interface UsageTotal extends UsageSum {
  ownerId: string;
  /** `2026-11-25`, in UTC. */
  day: string;
}

/** A comparison of the ledger with Temporal. */
export interface UsageCheck {
  checkedAtMs: number;
  fromMs: number;
  untilMs: number;
  /** Number of workflows that Temporal closed within the window. */
  workflows: number;
  /** Number of missing entries that the comparison wrote. */
  written: number;
  differences: { requestId: string; description: string }[];
}

/**
 * The usage ledger. `RequestStore.finish` writes its entries together with the outcomes. Every method rejects
 * with `store_unavailable`.
 */
export interface UsageLedger {
  /** Lists entries, newest first. */
  entries(
    query: UsageQuery & { limit: number; before?: { atMs: number; requestId: string } },
  ): Promise<UsageEntry[]>;

  /**
   * Sums entries by time, endpoint and price, oldest first.
   *
   * @param timezone an IANA name; buckets begin at its hours and days
   * @param widen extends the window to whole buckets
   */
  buckets(
    query: UsageQuery & { timeframe: Timeframe; timezone: string; widen?: boolean; limit: number },
  ): Promise<UsageBucket[]>;

  /** Sums entries by owner, endpoint, price and day, newest day first. */
  totals(query: UsageQuery & { limit: number }): Promise<UsageTotal[]>;

  /** Returns those of the requests that have an entry, and whether it has an output. */
  known(requestIds: string[]): Promise<Map<string, boolean>>;

  /** Writes missing entries of recorded outcomes, at most `limit`. Returns their request ids. */
  writeMissing(window: { fromMs: number; untilMs: number }, limit: number): Promise<string[]>;

  /** Stores a comparison; one of the same window replaces it. */
  recordCheck(check: UsageCheck): Promise<void>;

  /** Lists comparisons, newest first. */
  checks(limit: number): Promise<UsageCheck[]>;
}
