/**
 * A key is what a caller authenticates with: `<key id>:<secret>`, a UUID and 32 random bytes in hex. It
 * belongs to an owner, who sees what any of the owner's keys submitted. Of the secret only its HMAC-SHA-256
 * with a pepper is stored, so that one who reads the table can neither use a key nor make one. The secret has
 * 256 random bits: a slow hash would add nothing.
 */
export type Scope = "API" | "ADMIN";

export interface Key extends SecretDigest {
  keyId: string;
  ownerId: string;
  alias: string;
  scope: Scope;
  createdAtMs: number;
  revokedAtMs?: number;
  /** From then on it opens no more. */
  expiresAtMs?: number;
  /** To within a minute. */
  lastUsedAtMs?: number;
}

/** What is stored of a secret. */
export interface SecretDigest {
  /** Hex. HMAC-SHA-256 with the pepper; plain SHA-256 without one, as keys were stored at first. */
  secretSha256: string;
  /** The pepper's name; says nothing of it. */
  pepperId?: string;
}
