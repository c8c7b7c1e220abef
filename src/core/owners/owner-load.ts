import type { StoredTotal } from "../files/storage-limit.ts";

/**
 * An owner's load is the number of its unfinished requests, its spending and its files, according to the
 * records. Every method rejects with `store_unavailable` when PostgreSQL cannot be reached.
 */
export interface OwnerLoad {
  /** Counts the unfinished requests, up to `atMost`. */
  unfinished(ownerId: string, atMost: number): Promise<number>;
  /**
   * Sums the prices of its requests since midnight or the first of the month, UTC: the cost in the ledger,
   * and the price of one unit for each unfinished request.
   */
  spent(ownerId: string, since: "day" | "month"): Promise<number>;
  /** Returns what it has stored: its files, uploaded and produced, and the bytes on their way to them. */
  stored(ownerId: string): Promise<StoredTotal>;
}
