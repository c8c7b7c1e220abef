import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { Key, Scope } from "../../core/owners/key.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { KeyStore } from "../../core/owners/key-store.ts";
import { readAuthorization } from "../../fal/authorization.ts";
import type { KeyHashes } from "./key-hashes.ts";
import { createKeyMemory } from "./key-cache.ts";

export interface Caller {
  ownerId: string;
  keyId: string;
  scope: Scope;
}

export interface KeyRing {
  /**
   * Who an `Authorization` header speaks for.
   *
   * Rejects with `key_missing`, `key_malformed`, `key_unknown` (also for a revoked key or a wrong secret),
   * `key_expired`, `key_pepper_missing` when this process lacks the pepper it was stored with, or
   * `store_unavailable` when Postgres is away and the key was not seen lately.
   *
   * @param app named in the sentence that says authentication is required
   */
  authenticate(authorization: string | undefined, app?: string): Promise<Caller>;

  /**
   * Who a key speaks for that was authenticated before (a token names it); `undefined` when it is unknown,
   * was revoked since, or has expired.
   */
  recall(keyId: string): Promise<Caller | undefined>;
}

/**
 * Authenticates from memory (`createKeyMemory`). A key whose secret is stored in an older way is stored in
 * today's when it is used.
 *
 * @param clock measures ages only; give it one that nobody sets
 */
export async function createKeyRing({
  keys,
  clock,
  hashes,
}: {
  keys: KeyStore;
  clock: Clock;
  hashes: KeyHashes;
}): Promise<KeyRing & AsyncDisposable> {
  const memory = await createKeyMemory({ keys, clock });

  /**
   * When each was last stored anew from here: while peppers are exchanged, two gateways may each have another
   * newest one.
   */
  const rehashed = new Map<string, number>();
  const rehash = (key: Key, secret: string): void => {
    const now = clock.nowMs();
    if (now - (rehashed.get(key.keyId) ?? Number.NEGATIVE_INFINITY) < LIMITS.keyRehashMs) return;
    if (rehashed.size >= LIMITS.keysRememberedMax) rehashed.clear();
    rehashed.set(key.keyId, now);
    keys.rehash(key.keyId, key, hashes.digest(secret)).catch(() => {}); // a later use tries again
  };

  return {
    async authenticate(authorization, app) {
      const { keyId, secret } = readAuthorization(authorization, app);
      const found = await memory.find(keyId);
      // One that is not there takes the time of one that is.
      const matches = hashes.matches(found?.key ?? NOBODY, secret);
      if (!found || !matches || found.key.revokedAtMs !== undefined) throw new TemperaError("key_unknown");
      if (found.expired()) throw new TemperaError("key_expired");
      const { key } = found;
      memory.used(keyId);
      if (!hashes.isCurrent(key)) rehash(key, secret);
      return { ownerId: key.ownerId, keyId: key.keyId, scope: key.scope };
    },
    async recall(keyId) {
      const found = await memory.find(keyId);
      if (!found || found.key.revokedAtMs !== undefined || found.expired()) return undefined;
      return { ownerId: found.key.ownerId, keyId: found.key.keyId, scope: found.key.scope };
    },
    [Symbol.asyncDispose]: () => memory[Symbol.asyncDispose](),
  };
}

/** No secret has this digest. */
const NOBODY = { secretSha256: "" };
