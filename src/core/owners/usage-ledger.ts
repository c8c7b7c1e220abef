import type { UsageEntry } from "./usage.ts";

/** What of the ledger is meant. A list that is absent means all. */
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

/** What one price was paid for. */
export interface UsageSum {
  endpoint: string;
  unit: string;
  unitPrice: number;
  currency: string;
  /** Units. */
  quantity: number;
  cost: number;
  /** Entries, and those of them with an output. */
  requests: number;
  results: number;
  deviceSeconds: number;
  attempts: number;
  attemptsUncounted: number;
}

export interface UsageBucket extends UsageSum {
  /** When the bucket begins. */
  atMs: number;
}

export interface UsageTotal extends UsageSum {
  ownerId: string;
  /** `2026-11-25`, in UTC. */
  day: string;
}

/** A look at the ledger beside Temporal. */
export interface UsageCheck {
  checkedAtMs: number;
  fromMs: number;
  untilMs: number;
  /** Workflows that Temporal closed within the window. */
  workflows: number;
  /** Entries that were missing, and are written now. */
  written: number;
  differences: { requestId: string; description: string }[];
}

/**
 * The usage ledger. Entries are written with their outcome, by `RequestStore.finish`. Every method rejects
 * with `store_unavailable`.
 */
export interface UsageLedger {
  /** Newest first. */
  entries(
    query: UsageQuery & { limit: number; before?: { atMs: number; requestId: string } },
  ): Promise<UsageEntry[]>;

  /**
   * By time, endpoint and price, oldest first.
   *
   * @param timezone an IANA name; buckets begin at its hours and days
   * @param widen the window is made whole buckets
   */
  buckets(
    query: UsageQuery & { timeframe: Timeframe; timezone: string; widen?: boolean; limit: number },
  ): Promise<UsageBucket[]>;

  /** By owner, endpoint, price and day, newest day first. */
  totals(query: UsageQuery & { limit: number }): Promise<UsageTotal[]>;

  /** Of these requests, those that have an entry, and whether it is one of an output. */
  known(requestIds: string[]): Promise<Map<string, boolean>>;

  /** Writes the entries of recorded outcomes that have none, at most `limit`; returns their requests. */
  writeMissing(window: { fromMs: number; untilMs: number }, limit: number): Promise<string[]>;

  /** Keeps what a look found; the same window again replaces it. */
  recordCheck(check: UsageCheck): Promise<void>;

  /** Newest first. */
  checks(limit: number): Promise<UsageCheck[]>;
}
