/**
 * What an owner has in hand, as the records say. Every method rejects with `store_unavailable` when Postgres
 * cannot be reached.
 */
export interface OwnerLoad {
  /** Requests that have not ended, counted up to `atMost`. */
  unfinished(ownerId: string, atMost: number): Promise<number>;
  /**
   * Prices of its requests since midnight or the first of the month, UTC: as the ledger has them, and of one
   * unit each while they have not ended.
   */
  spent(ownerId: string, since: "day" | "month"): Promise<number>;
}
