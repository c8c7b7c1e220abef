/** What an owner has in hand, as the records say. Every method rejects with `store_unavailable` when Postgres cannot be reached. */
export interface OwnerLoad {
  /** Requests that have not ended, counted up to `atMost`. */
  unfinished(ownerId: string, atMost: number): Promise<number>;
}
