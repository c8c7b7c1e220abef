/**
 * An owner is the name on keys that belong together. It exists from its first key on, or from the first plan
 * that it was given. The directory lists all owners.
 */
export interface OwnerRecord {
  ownerId: string;
  /** Keys that are accepted now. */
  keysActive: number;
  /** All keys, revoked and expired ones included. */
  keys: number;
  /** Absent without a key. */
  firstKeyAtMs?: number;
}

/** Every method rejects with `store_unavailable` when PostgreSQL cannot be reached. */
export interface OwnerDirectory {
  /** Lists owners by name, those after `after`. */
  list(after: string | undefined, limit: number): Promise<OwnerRecord[]>;
  find(ownerId: string): Promise<OwnerRecord | undefined>;
  /** Returns the number of an owner's unfinished requests, and the time of the newest submit. */
  work(ownerId: string): Promise<{ unfinished: number; lastSubmittedAtMs?: number }>;
}
