/**
 * A key is what a caller authenticates with: `<key id>:<secret>`, a UUID and 32 random bytes in hex. It belongs to an
 * owner, who sees what any of the owner's keys submitted. Only the secret's SHA-256 is stored: the secret has 256 random
 * bits, so a slow hash would add nothing.
 */
export type Scope = "API" | "ADMIN";

export interface Key {
  keyId: string;
  ownerId: string;
  alias: string;
  scope: Scope;
  secretSha256: string;
  createdAtMs: number;
  revokedAtMs?: number;
}
