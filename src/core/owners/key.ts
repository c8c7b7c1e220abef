/**
 * A key authenticates a caller: `<key id>:<secret>`, a UUID and 32 random bytes in hex. It belongs to an
 * owner, who sees the requests of all the owner's keys. Only an HMAC-SHA-256 of the secret with a pepper is
 * stored, so that a reader of the table can neither use a key nor make one. The secret has 256 random bits:
 * a slow hash would add nothing.
 */
import type { KeyPermissions } from "./key-permissions.ts";

export type Scope = "API" | "ADMIN";

export interface Key extends SecretDigest {
  keyId: string;
  ownerId: string;
  alias: string;
  scope: Scope;
  /** Absent when the key may do all that its scope allows. */
  permissions?: KeyPermissions;
  createdAtMs: number;
  revokedAtMs?: number;
  /** Time from which the key is refused. */
  expiresAtMs?: number;
  /** Exact to a minute. */
  lastUsedAtMs?: number;
}

/** The stored digest of a secret. */
export interface SecretDigest {
  /** Hex. HMAC-SHA-256 with the pepper; plain SHA-256 without one, the form of the first releases. */
  secretSha256: string;
  /** Id of the pepper, which does not reveal it. */
  pepperId?: string;
}
