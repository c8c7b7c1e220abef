/**
 * Authentication: API keys (`key-ring.ts`, with `key-cache.ts` and `key-hashes.ts`), the short-lived tokens
 * that stand for a key (`tokens.ts`), and the limiter of wrong keys (`auth-failure-limiter.ts`).
 */
import { LRUCache } from "lru-cache";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { Log } from "../../core/operations/log.ts";
import type { Key, Scope } from "../../core/owners/key.ts";
import { assertCallPermitted, type KeyPermissions } from "../../core/owners/key-permissions.ts";
import type { FoundKey, KeyStore } from "../../core/owners/key-store.ts";
import { readAuthorization } from "../../fal/authorization.ts";
import { type AuthFailures, senderOf } from "./auth-failure-limiter.ts";
import type { Call } from "./call.ts";
import { KeyCache } from "./key-cache.ts";
import type { KeyHashes } from "./key-hashes.ts";

/** The owner and key on whose behalf a call is made. */
export interface Caller {
  ownerId: string;
  keyId: string;
  scope: Scope;
  /** Absent when the key may do all that its scope allows. Endpoints are checked where they are known. */
  permissions?: KeyPermissions;
}

/** Authenticates callers by their keys. */
export interface KeyRing {
  /**
   * Finds the caller of an `Authorization` header.
   *
   * Rejects with `key_missing`, `key_malformed`, `key_unknown` (also for a revoked key or a wrong secret),
   * `key_expired`, `key_pepper_missing` when this process lacks the pepper it was stored with, or
   * `store_unavailable` when Postgres cannot be reached and the key was not read lately. A right key is
   * refused with `key_address_forbidden` and `key_read_only` for a call that it does not permit.
   *
   * @param app named in the sentence that asks for authentication
   */
  authenticate(authorization: string | undefined, call: Call, app?: string): Promise<Caller>;

  /**
   * Finds the caller of a key that was authenticated before, as a token names it. `undefined` when the key is
   * unknown, revoked or expired. Rejects as `authenticate` does for a call that the key does not permit.
   */
  recall(keyId: string, call: Call): Promise<Caller | undefined>;
}

/**
 * Authenticates from memory (`KeyCache`). A key whose secret is stored in an older way is stored in today's
 * way when it is used.
 *
 * @param clock measures ages only: a clock that nobody sets
 * @param trustProxy callers have the last address of `X-Forwarded-For`, which the proxy has added
 * @param authFailures is told of the right keys
 */
export async function createKeyRing({
  keys,
  clock,
  hashes,
  log,
  trustProxy = false,
  authFailures,
}: {
  keys: KeyStore;
  clock: Clock;
  hashes: KeyHashes;
  log: Log;
  trustProxy?: boolean;
  authFailures?: Pick<AuthFailures, "accept">;
}): Promise<KeyRing & AsyncDisposable> {
  const cache = await KeyCache.start({ keys, clock, log });
  const rehash = createRehash({ keys, clock, hashes });
  const assertPermitted = ({ permissions }: FoundKey, call: Call): void => {
    if (!permissions) return;
    const { forwardedFor, remoteAddress, writes } = call;
    const address = senderOf(forwardedFor, remoteAddress, trustProxy);
    assertCallPermitted(permissions, { address, writes });
  };
  return {
    async authenticate(authorization, call, app) {
      const { keyId, secret } = readAuthorization(authorization, app);
      const found = await cache.find(keyId);
      // An unknown key takes as long as a known one with a wrong secret.
      const matches = hashes.matches(found?.key ?? NO_KEY, secret);
      if (!found || !matches || found.key.revokedAtMs !== undefined) throw new TemperaError("key_unknown");
      // Before all else that a right key may learn: whoever uses it from elsewhere may have stolen it.
      assertPermitted(found.key, call);
      if (found.isExpired()) throw new TemperaError("key_expired");
      cache.noteUse(keyId);
      authFailures?.accept(`${keyId}:${secret}`);
      if (!hashes.isCurrent(found.key)) rehash(found.key, secret);
      return callerOf(found.key);
    },
    async recall(keyId, call) {
      const found = await cache.find(keyId);
      if (!found || found.key.revokedAtMs !== undefined || found.isExpired()) return undefined;
      assertPermitted(found.key, call);
      return callerOf(found.key);
    },
    [Symbol.asyncDispose]: () => cache[Symbol.asyncDispose](),
  };
}

/** No secret has this digest. */
const NO_KEY = { secretSha256: "" };

function callerOf({ ownerId, keyId, scope, permissions }: FoundKey): Caller {
  return { ownerId, keyId, scope, ...(permissions && { permissions }) };
}

/**
 * Makes the function that stores a key's secret in today's way, at most once per `LIMITS.keyRehashMs`: while
 * peppers are exchanged, two gateways may disagree about the newest one.
 */
function createRehash({ keys, clock, hashes }: { keys: KeyStore; clock: Clock; hashes: KeyHashes }) {
  const rehashedAtMs = new LRUCache<string, number>({ max: LIMITS.keysCachedMax });
  return function rehash(key: Key, secret: string): void {
    const nowMs = clock.nowMs();
    if (nowMs - (rehashedAtMs.get(key.keyId) ?? Number.NEGATIVE_INFINITY) < LIMITS.keyRehashMs) return;
    rehashedAtMs.set(key.keyId, nowMs);
    keys.rehash(key.keyId, key, hashes.digest(secret)).catch(() => {}); // the next use tries again
  };
}
