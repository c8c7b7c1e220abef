import type { IncomingMessage } from "node:http";
import type { Context, MiddlewareHandler } from "hono";
import ipaddr from "ipaddr.js";
import { LRUCache } from "lru-cache";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";

/** Wrong keys that came from one address within one window. */
interface Failures {
  count: number;
  /** When the first of them came, which opened the window. */
  sinceMs: number;
}

const WINDOW_MS = LIMITS.authFailureWindowSeconds * 1000;

/**
 * Makes guessing keys slow: an address that has sent `LIMITS.authFailuresMax` wrong keys within
 * `LIMITS.authFailureWindowSeconds` gets 429 before any look-up, until that window is over. Other callers at
 * the same address (an office, a proxy) are not locked out with it: a key that was accepted at this gateway
 * before stays accepted.
 *
 * @param trustProxy the address is the last one of `X-Forwarded-For`, which the proxy has added
 * @param nowMs a clock that nobody sets
 */
export function createAuthFailureLimiter({
  trustProxy = false,
  nowMs = () => performance.now(),
}: {
  trustProxy?: boolean;
  nowMs?: () => number;
}): MiddlewareHandler {
  const failures = new LRUCache<string, Failures>({ max: LIMITS.authFailureAddressesMax });
  const acceptedKeys = new LRUCache<string, true>({ max: LIMITS.keysCachedMax });
  /** Calls that are counted already: those in the proxy form pass here twice. */
  const counted = new WeakSet<object>();

  function failuresOf(address: string): Failures | undefined {
    const known = failures.get(address);
    return known && nowMs() - known.sinceMs < WINDOW_MS ? known : undefined;
  }

  function countFailure(c: Context, address: string): void {
    const call = (c.env as { incoming?: object }).incoming ?? c;
    if (counted.has(call)) return;
    counted.add(call);
    const known = failuresOf(address);
    if (known) known.count++;
    else failures.set(address, { count: 1, sinceMs: nowMs() });
  }

  return async (c, next) => {
    const authorization = c.req.header("authorization");
    // Read before `next`: a connection that its caller has closed has no address.
    const sender = authorization === undefined ? undefined : senderOf(c, trustProxy);
    if (authorization === undefined || sender === undefined) return next();
    const keyId = keyIdOf(authorization);
    const known = failures.size === 0 ? undefined : failuresOf(networkOf(sender));
    if (known && known.count >= LIMITS.authFailuresMax && !acceptedKeys.has(keyId))
      throw new TemperaError("too_many_auth_failures", undefined, {
        retryAfterMs: known.sinceMs + WINDOW_MS - nowMs(),
      });
    await next();
    if (c.res.status === 401) countFailure(c, networkOf(sender));
    else if (c.res.status < 300 && keyId !== "") acceptedKeys.set(keyId, true);
  };
}

/** Reads the id of the key that a header names, unverified; "" when the header is of another kind. */
function keyIdOf(authorization: string): string {
  return /^(?:key|bearer)\s+([0-9a-f-]{36}):/i.exec(authorization)?.[1]?.toLowerCase() ?? "";
}

/** Finds the address of a caller; `undefined` for a call from within this process. */
function senderOf(c: Context, trustProxy: boolean): string | undefined {
  const forwarded = trustProxy ? c.req.header("x-forwarded-for")?.split(",").at(-1)?.trim() : undefined;
  return forwarded ?? (c.env as { incoming?: IncomingMessage } | undefined)?.incoming?.socket.remoteAddress;
}

/** Returns the part of an address that one customer of a provider has: all of IPv4, the /64 of IPv6. */
function networkOf(sender: string): string {
  if (!ipaddr.isValid(sender)) return sender;
  const address = ipaddr.process(sender);
  return address instanceof ipaddr.IPv6
    ? address.parts
        .slice(0, 4)
        .map((part) => part.toString(16))
        .join(":")
    : address.toString();
}
