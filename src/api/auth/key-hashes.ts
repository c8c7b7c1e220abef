import { createHash, createHmac, hash, timingSafeEqual } from "node:crypto";
import { LRUCache } from "lru-cache";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { SecretDigest } from "../../core/owners/key.ts";

/** Digests of keys' secrets: makes them for the store, and compares secrets with stored ones. */
export interface KeyHashes {
  /** Makes the digest that is stored of a new secret. */
  digest(secret: string): SecretDigest;
  /**
   * Tells whether a secret is the stored one, in whichever way that was stored. Takes the same time for every
   * wrong secret. Throws `key_pepper_missing` when this process lacks the pepper it was stored with.
   */
  matches(stored: SecretDigest, secret: string): boolean;
  /** Tells whether a digest was made in today's way: with the newest pepper. */
  isCurrent(stored: SecretDigest): boolean;
}

/**
 * Digests secrets by HMAC-SHA-256 with the newest pepper. Digests made with an older one, or by plain
 * SHA-256, are still recognised.
 *
 * @param peppers newest first, at least one
 */
export function createKeyHashes(peppers: readonly (string | Uint8Array)[]): KeyHashes {
  const byId = new Map(peppers.map((pepper) => [pepperIdOf(pepper), pepper]));
  const [newest] = byId.keys();
  function hmac(secret: string, pepperId: string | undefined): Buffer {
    if (pepperId === undefined) return hash("sha256", secret, "buffer");
    const pepper = byId.get(pepperId);
    if (pepper !== undefined) return createHmac("sha256", pepper).update(secret).digest();
    throw new TemperaError(
      "key_pepper_missing",
      `The key was stored with the pepper ${pepperId}, which this process does not have; ` +
        "add that pepper behind the new one in TEMPERA_KEY_PEPPER.",
    );
  }
  /**
   * The plain digest of each secret that was recognised, by its stored digest: comparing those takes a third
   * of the time. In this process's memory only.
   */
  const recognised = new LRUCache<string, Buffer>({ max: LIMITS.keysCachedMax });
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
      recognised.set(secretSha256, plain);
      return true;
    },
    isCurrent: ({ pepperId }) => pepperId === newest,
  };
}

/** Names a pepper by eight hex digits, from which it cannot be derived. */
function pepperIdOf(pepper: string | Uint8Array): string {
  return createHash("sha256").update("tempera key pepper\n").update(pepper).digest("hex").slice(0, 8);
}
