import type { SigningKey } from "./signing-key.ts";

/**
 * Stores the keys that sign webhooks. Every method rejects with `store_unavailable` when PostgreSQL cannot be
 * reached and no key is cached.
 */
export interface SigningKeyStore {
  /** Signs (Ed25519) with the current key; the first process that needs a key makes it. */
  sign(message: string): Promise<{ keyId: string; signature: Buffer }>;

  /** Lists the keys of the JWKS, newest first; at least one. */
  published(): Promise<SigningKey[]>;

  /** Lists all keys ever made, newest first. */
  list(): Promise<SigningKey[]>;

  /**
   * Makes a new key. It signs after `PUBLISHED_MS`, when every receiver has seen it. With `now` it signs at
   * once; with `revoke` it signs at once, and the keys before it are removed from the JWKS. Rejects with
   * `rotation_pending` when another new key does not sign yet, unless with `now` or `revoke`.
   */
  rotate(how: { now?: boolean; revoke?: boolean }): Promise<SigningKey>;
}
