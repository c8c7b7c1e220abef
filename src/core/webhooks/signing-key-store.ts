import type { SigningKey } from "./signing-key.ts";

/**
 * The keys that webhooks are signed with. Every method rejects with `store_unavailable` when Postgres cannot
 * be reached and nothing is remembered.
 */
export interface SigningKeys {
  /** Signs (Ed25519) with the key that signs now; the first process that needs one makes the first. */
  sign(message: string): Promise<{ keyId: string; signature: Buffer }>;

  /** The keys of the JWKS, newest first; at least one. */
  published(): Promise<SigningKey[]>;

  /** Every key ever made, newest first. */
  list(): Promise<SigningKey[]>;

  /**
   * Makes a new key. It signs after `PUBLISHED_MS`, when every receiver has seen it; with `now`, at once;
   * with `revoke`, at once, and the keys before it are taken out of the JWKS. Rejects with `rotation_pending`
   * when a key waits already, unless `now` or `revoke`.
   */
  rotate(how: { now?: boolean; revoke?: boolean }): Promise<SigningKey>;
}
