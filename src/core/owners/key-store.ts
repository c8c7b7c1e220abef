import type { Key, SecretDigest } from "./key.ts";

/** A key as it was read; how long it still opens is told by the store's clock, which all processes share. */
export interface FoundKey extends Key {
  /** Time left at the moment of the reading, negative once it has expired; absent when it never does. */
  expiresInMs?: number;
}

/** Every method rejects with `store_unavailable` when Postgres cannot be reached. */
export interface KeyStore {
  insert(key: Key): Promise<void>;
  find(keyId: string): Promise<FoundKey | undefined>;
  /** Those of the ids that there are, in one reading. */
  findAll(keyIds: readonly string[]): Promise<FoundKey[]>;
  /** Newest first, revoked ones included; those after the one that `before` names. */
  list(page: { limit: number; before?: { atMs: number; id: string } }): Promise<FoundKey[]>;
  /** False when there is no such key, or it was revoked before. */
  revoke(keyId: string, atMs: number): Promise<boolean>;
  /**
   * Stores another digest of the same secret. Does nothing when somebody else was first: `before` is not
   * there any more.
   */
  rehash(keyId: string, before: SecretDigest, after: SecretDigest): Promise<void>;
  /**
   * Notes when keys were last used, each so many milliseconds ago. An earlier moment than the noted one
   * changes nothing.
   */
  recordUses(uses: readonly { keyId: string; agoMs: number }[]): Promise<void>;
  /**
   * Calls `listener` with the id of each key that changes, as soon as the database says so. Returns how to
   * stop.
   */
  onChange(listener: (keyId: string) => void): Promise<() => Promise<void>>;
}
