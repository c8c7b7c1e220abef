import type { Key, SecretDigest } from "./key.ts";
import type { KeyPermissions } from "./key-permissions.ts";

/** A change of a key. `null` takes a field away; an absent one stays as it is. */
export interface KeyChange {
  alias?: string;
  expiresAtMs?: number | null;
  endpoints?: KeyPermissions["endpoints"] | null;
  addresses?: KeyPermissions["addresses"] | null;
  readOnly?: boolean;
}

/** A key as it was read. Its remaining time is measured by the store's clock, which all processes share. */
export interface FoundKey extends Key {
  /** Time left at the moment of reading, negative once it has expired; absent when it never expires. */
  expiresInMs?: number;
}

/** Stores API keys. Every method rejects with `store_unavailable` when PostgreSQL cannot be reached. */
export interface KeyStore {
  insert(key: Key): Promise<void>;
  find(keyId: string): Promise<FoundKey | undefined>;
  /** Finds the keys that exist, with one query. */
  findAll(keyIds: readonly string[]): Promise<FoundKey[]>;
  /** Lists keys newest first, revoked ones included; those after the one that `before` names. */
  list(page: { limit: number; before?: { atMs: number; id: string } }): Promise<FoundKey[]>;
  /** Changes a key, and returns it changed; `undefined` when there is no such key, or it was revoked. */
  change(keyId: string, change: KeyChange): Promise<FoundKey | undefined>;
  /** Revokes a key. False when there is no such key, or it was revoked before. */
  revoke(keyId: string, atMs: number): Promise<boolean>;
  /**
   * Replaces the digest of a secret by another one of the same secret. Does nothing when `before` is no
   * longer the stored one, because another process was faster.
   */
  rehash(keyId: string, before: SecretDigest, after: SecretDigest): Promise<void>;
  /**
   * Records the last uses of keys, in milliseconds before now. A moment earlier than the recorded one changes
   * nothing.
   */
  recordUses(uses: readonly { keyId: string; agoMs: number }[]): Promise<void>;
  /**
   * Calls `listener` with the id of each key that changes, as soon as the database announces it. Returns how
   * to stop.
   */
  onChange(listener: (keyId: string) => void): Promise<() => Promise<void>>;
}
