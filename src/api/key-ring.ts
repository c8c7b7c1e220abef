import { hash, timingSafeEqual } from "node:crypto";
import { TemperaError } from "../core/errors/tempera-error.ts";
import type { Key, Scope } from "../core/key.ts";
import { LIMITS } from "../core/limits.ts";
import type { Clock } from "../core/ports/clock.ts";
import type { KeyStore } from "../core/ports/key-store.ts";
import { readAuthorization } from "../fal/authorization.ts";

export interface Caller {
  ownerId: string;
  keyId: string;
  scope: Scope;
}

export interface KeyRing {
  /**
   * Who an `Authorization` header speaks for.
   *
   * Rejects with `key_missing`, `key_malformed`, `key_unknown` (also for a revoked key or a wrong secret), or
   * `store_unavailable` when Postgres is away and the key was not seen lately.
   *
   * @param app named in the sentence that says authentication is required
   */
  authenticate(authorization: string | undefined, app?: string): Promise<Caller>;

  /** Who a key speaks for that was authenticated before (a token names it); `undefined` when it is unknown or was revoked since. */
  recall(keyId: string): Promise<Caller | undefined>;
}

interface Remembered {
  key: Key | undefined;
  atMs: number;
  /** Postgres was away: do not ask again before this moment. */
  retryAtMs?: number;
}

/**
 * Authenticates with a memory of `LIMITS.keyCacheMs`, emptied at once for a key the database says has changed. While
 * Postgres is away, a key seen in the last `LIMITS.keyStaleMs` still opens: an outage of the store must not stop the queue.
 */
export async function createKeyRing({ keys, clock }: { keys: KeyStore; clock: Clock }): Promise<KeyRing & AsyncDisposable> {
  const memory = new Map<string, Remembered>();
  const stop = await keys.onChange((keyId) => memory.delete(keyId));

  const asking = new Map<string, Promise<Key | undefined>>();

  const find = async (keyId: string): Promise<Key | undefined> => {
    const seen = memory.get(keyId);
    const now = clock.nowMs();
    if (seen && now - seen.atMs < LIMITS.keyCacheMs) return seen.key;
    if (seen?.retryAtMs !== undefined && now < seen.retryAtMs && now - seen.atMs < LIMITS.keyStaleMs) return seen.key;
    // Many callers of one key ask once.
    const answer = asking.get(keyId) ?? ask(keyId, seen, now).finally(() => asking.delete(keyId));
    asking.set(keyId, answer);
    return answer;
  };

  const ask = async (keyId: string, seen: Remembered | undefined, now: number): Promise<Key | undefined> => {
    try {
      const key = await keys.find(keyId);
      if (memory.size >= LIMITS.keysRememberedMax) memory.clear();
      memory.set(keyId, { key, atMs: now });
      return key;
    } catch (error) {
      if (!seen?.key || now - seen.atMs >= LIMITS.keyStaleMs) throw error;
      // The store is away: what is known serves at once for a while, instead of after another wait.
      memory.set(keyId, { ...seen, retryAtMs: clock.nowMs() + LIMITS.keyCacheMs });
      return seen.key;
    }
  };

  return {
    async authenticate(authorization, app) {
      const { keyId, secret } = readAuthorization(authorization, app);
      const key = await find(keyId);
      const given = hash("sha256", secret, "buffer");
      const expected = key ? Buffer.from(key.secretSha256, "hex") : Buffer.alloc(32);
      const matches = expected.length === given.length && timingSafeEqual(given, expected);
      if (!key || !matches || key.revokedAtMs !== undefined) throw new TemperaError("key_unknown");
      return { ownerId: key.ownerId, keyId: key.keyId, scope: key.scope };
    },
    async recall(keyId) {
      const key = await find(keyId);
      return key && key.revokedAtMs === undefined ? { ownerId: key.ownerId, keyId: key.keyId, scope: key.scope } : undefined;
    },
    [Symbol.asyncDispose]: stop,
  };
}
