import { createHash, createHmac, hash, timingSafeEqual } from "node:crypto";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { SecretDigest } from "../../core/owners/key.ts";
import { LIMITS } from "../../core/limits.ts";

/** How secrets are stored, and told apart from wrong ones. */
export interface KeyHashes {
  /** What is stored of a secret from now on. */
  digest(secret: string): SecretDigest;
  /**
   * Whether a secret is the one that was stored, however it was. Takes the same time for every wrong one.
   * Throws `key_pepper_missing` when it was stored with a pepper that this process was not given.
   */
  matches(stored: SecretDigest, secret: string): boolean;
  /** Whether it is stored as it would be stored now. */
  isCurrent(stored: SecretDigest): boolean;
}

/**
 * HMAC-SHA-256 with the first of the peppers; what was stored with another one, or as plain SHA-256, is
 * recognised.
 *
 * @param peppers newest first, at least one
 */
export function createKeyHashes(peppers: readonly (string | Uint8Array)[]): KeyHashes {
  const byId = new Map(peppers.map((pepper) => [pepperIdOf(pepper), pepper]));
  const [newest] = byId.keys();
  const hmac = (secret: string, pepperId: string | undefined): Buffer => {
    if (pepperId === undefined) return hash("sha256", secret, "buffer");
    const pepper = byId.get(pepperId);
    if (pepper !== undefined) return createHmac("sha256", pepper).update(secret).digest();
    throw new TemperaError(
      "key_pepper_missing",
      `The key was stored with the pepper ${pepperId}, which this process was not given; add it behind the new one in TEMPERA_KEY_PEPPER.`,
    );
  };
  /**
   * By what is stored, the plain digest of the secret that was recognised: telling it again costs a third. In
   * this process's memory only.
   */
  const recognised = new Map<string, Buffer>();
  return {
    digest: (secret) => ({
      secretSha256: hmac(secret, newest).toString("hex"),
      ...(newest !== undefined && { pepperId: newest }),
    }),
    matches({ secretSha256, pepperId }, secret) {
      const plain = hash("sha256", secret, "buffer");
      const known = recognised.get(secretSha256);
      if (known && timingSafeEqual(known, plain)) return true;
      const given = hmac(secret, pepperId);
      const expected = Buffer.from(secretSha256, "hex");
      if (expected.length !== given.length || !timingSafeEqual(given, expected)) return false;
      if (recognised.size >= LIMITS.keysRememberedMax) recognised.clear();
      recognised.set(secretSha256, plain);
      return true;
    },
    isCurrent: ({ pepperId }) => pepperId === newest,
  };
}

/** Eight hex digits that name a pepper and cannot be led back to it. */
const pepperIdOf = (pepper: string | Uint8Array): string =>
  createHash("sha256").update("tempera key pepper\n").update(pepper).digest("hex").slice(0, 8);
