/**
 * Who there is: an owner is a name on keys, and comes with the first one, or with a plan that was given to
 * it.
 */
export interface OwnerRecord {
  ownerId: string;
  /** Keys that open, and all there ever were. */
  keysActive: number;
  keys: number;
  /** Absent without a key. */
  firstKeyAtMs?: number;
}

/** Every method rejects with `store_unavailable` when Postgres cannot be reached. */
export interface OwnerDirectory {
  /** By name, from the one after `after` on. */
  list(after: string | undefined, limit: number): Promise<OwnerRecord[]>;
  find(ownerId: string): Promise<OwnerRecord | undefined>;
  /** Requests of an owner that have not ended, and when the newest of all was submitted. */
  work(ownerId: string): Promise<{ unfinished: number; lastSubmittedAtMs?: number }>;
}
