import type { Key } from "../key.ts";

/** Every method rejects with `store_unavailable` when Postgres cannot be reached. */
export interface KeyStore {
  insert(key: Key): Promise<void>;
  find(keyId: string): Promise<Key | undefined>;
  /** Newest first, revoked ones included; those after the one that `before` names. */
  list(page: { limit: number; before?: { atMs: number; id: string } }): Promise<Key[]>;
  /** False when there is no such key, or it was revoked before. */
  revoke(keyId: string, atMs: number): Promise<boolean>;
  /** Calls `listener` with the id of each key that changes, as soon as the database says so. Returns how to stop. */
  onChange(listener: (keyId: string) => void): Promise<() => Promise<void>>;
}
