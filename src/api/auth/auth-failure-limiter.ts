import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Context, MiddlewareHandler } from "hono";
import ipaddr from "ipaddr.js";
import { LRUCache } from "lru-cache";
import { sleep } from "../../core/concurrency/sleep.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import { basicToKey } from "../../fal/authorization.ts";

/**
 * The wrong keys and tokens of each address, by whichever way they came: HTTP/1.1, HTTP/2 and WebSocket share
 * one count. An address that has sent `LIMITS.authFailuresMax` of them within
 * `LIMITS.authFailureWindowSeconds` is refused before any look-up, until that window is over. Other callers
 * at the same address (an office, a proxy) are not locked out with it: a key that was accepted at this
 * gateway before stays accepted.
 */
export interface AuthFailures {
  /** Throws `too_many_auth_failures` for a credential that was not accepted before, from such an address. */
  admit(network: string, credential: string): void;
  /**
   * Resolves when the refusal of such an address is due, or when the signal says that its caller has left: a
   * caller who tries again at each answer must not keep this process from others. An address has
   * `LIMITS.authRefusalsWaitingMax` refusals that wait; more of them are due at once.
   */
  delayRefusal(network: string, signal?: AbortSignal): Promise<void>;
  /** Counts a wrong credential of an address. */
  countFailure(network: string): void;
  /** Remembers a credential that a look-up found right: a `<key id>:<secret>`, or a token. */
  accept(credential: string): void;
}

/** Wrong keys that came from one address within one window. */
interface Failures {
  count: number;
  /** When the first of them came, which opened the window. */
  sinceMs: number;
}

/** The scheme before a credential in `Authorization`. */
const SCHEME = /^(?:key|bearer)\s+/i;

const WINDOW_MS = LIMITS.authFailureWindowSeconds * 1000;

/** Returns a credential in the form that its spellings share: the scheme and the capitals of an id vary. */
function canonicalCredential(credential: string): string {
  const bare = basicToKey(credential).trim().replace(SCHEME, "");
  const idLength = Math.max(bare.indexOf(":"), 0);
  return bare.slice(0, idLength).toLowerCase() + bare.slice(idLength);
}

/**
 * @param nowMs a clock that nobody sets
 * @param rest waits. @default `sleep`
 */
export function createAuthFailures({
  nowMs = () => performance.now(),
  rest = sleep,
}: {
  nowMs?: () => number;
  rest?: typeof sleep;
} = {}): AuthFailures {
  const failures = new LRUCache<string, Failures>({ max: LIMITS.authFailureAddressesMax });
  /** The digests of right keys with their secrets: whoever knows a key's id alone may still be guessing. */
  const accepted = new LRUCache<string, true>({ max: LIMITS.keysCachedMax });
  /** The refusals that wait, by address. */
  const waiting = new Map<string, number>();
  const digestOf = (credential: string): string =>
    createHash("sha256").update(canonicalCredential(credential)).digest("base64");

  function failuresOf(network: string): Failures | undefined {
    const known = failures.get(network);
    return known && nowMs() - known.sinceMs < WINDOW_MS ? known : undefined;
  }

  return {
    admit(network, credential) {
      const known = failures.size === 0 ? undefined : failuresOf(network);
      if (known && known.count >= LIMITS.authFailuresMax && !accepted.has(digestOf(credential)))
        throw new TemperaError("too_many_auth_failures", undefined, {
          retryAfterMs: known.sinceMs + WINDOW_MS - nowMs(),
        });
    },
    async delayRefusal(network, signal) {
      const before = waiting.get(network) ?? 0;
      if (before >= LIMITS.authRefusalsWaitingMax) return;
      waiting.set(network, before + 1);
      await rest(LIMITS.authRefusalMs, signal).catch(() => {});
      const left = (waiting.get(network) ?? 1) - 1;
      if (left > 0) waiting.set(network, left);
      else waiting.delete(network);
    },
    countFailure(network) {
      const known = failuresOf(network);
      if (known) known.count++;
      else failures.set(network, { count: 1, sinceMs: nowMs() });
    },
    accept(credential) {
      accepted.set(digestOf(credential), true);
    },
  };
}

/** Calls whose credential was wrong, although their answers are no 401. */
const wronglyKeyed = new WeakSet<Context>();

/** Notes that a call's credential was wrong, where the answer hides it: a private file is a plain 404. */
export function noteWrongKey(c: Context): void {
  wronglyKeyed.add(c);
}

/**
 * Makes guessing keys over HTTP slow, see `AuthFailures`.
 *
 * @param trustProxy the address is the last one of `X-Forwarded-For`, which the proxy has added
 */
export function createAuthFailureLimiter({
  trustProxy = false,
  failures,
}: {
  trustProxy?: boolean;
  failures: AuthFailures;
}): MiddlewareHandler {
  /** Calls that are counted already: those in the proxy form pass here twice. */
  const counted = new WeakSet<object>();

  function countFailure(c: Context, network: string): void {
    const call = (c.env as { incoming?: object }).incoming ?? c;
    if (counted.has(call)) return;
    counted.add(call);
    failures.countFailure(network);
  }

  return async (c, next) => {
    const credential = c.req.header("authorization") ?? c.req.query("fal_jwt_token");
    // Read before `next`: a connection that its caller has closed has no address.
    const network =
      credential === undefined
        ? undefined
        : networkOf(
            c.req.header("x-forwarded-for"),
            (c.env as { incoming?: IncomingMessage } | undefined)?.incoming?.socket.remoteAddress,
            trustProxy,
          );
    if (credential === undefined || network === undefined) return next();
    try {
      failures.admit(network, credential);
    } catch (error) {
      await failures.delayRefusal(network, c.req.raw.signal);
      throw error;
    }
    await next();
    if (c.res.status === 401 || wronglyKeyed.has(c)) countFailure(c, network);
  };
}

/** Finds the address of a caller: behind a trusted proxy the one that the proxy has added last. */
export function senderOf(
  forwarded: string | undefined,
  remote: string | undefined,
  trustProxy: boolean,
): string | undefined {
  return (trustProxy ? forwarded?.split(",").at(-1)?.trim() : undefined) ?? remote;
}

/**
 * Finds the part of a caller's address that one customer of a provider has: all of IPv4, the /64 of IPv6;
 * `undefined` for a call from within this process.
 */
export function networkOf(
  forwarded: string | undefined,
  remote: string | undefined,
  trustProxy: boolean,
): string | undefined {
  const sender = senderOf(forwarded, remote, trustProxy);
  if (sender === undefined || !ipaddr.isValid(sender)) return sender;
  const address = ipaddr.process(sender);
  return address instanceof ipaddr.IPv6
    ? address.parts
        .slice(0, 4)
        .map((part) => part.toString(16))
        .join(":")
    : address.toString();
}
