import type { IncomingMessage } from "node:http";
import { isIPv6 } from "node:net";
import type { Context, MiddlewareHandler } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";

/** Counts wrong keys by the address they come from. */
interface Tries {
  wrong: number;
  /** By a clock that does not jump. */
  sinceMs: number;
}

/**
 * Makes trying keys slow and cheap: an address that has sent `LIMITS.wrongKeysMax` wrong keys within
 * `LIMITS.wrongKeysSeconds` is answered 429 before anything is looked up, until that time is over. Others at
 * the same address (an office, a proxy) are not locked out with it: a key that has worked at this gateway
 * before goes on working.
 *
 * @param trustProxy the address is the last one of `X-Forwarded-For`, which the proxy has put there
 * @param nowMs a clock that does not jump
 */
export function createKeyGuard({
  trustProxy = false,
  nowMs = () => performance.now(),
}: {
  trustProxy?: boolean;
  nowMs?: () => number;
}): MiddlewareHandler {
  const tries = new Map<string, Tries>();
  /** Ids of keys that have worked here, the longest known first. */
  const worked = new Set<string>();
  /** Calls in the proxy form pass here twice. */
  const counted = new WeakSet<object>();
  const windowMs = LIMITS.wrongKeysSeconds * 1000;

  const triesOf = (address: string): Tries | undefined => {
    const known = tries.get(address);
    if (!known || nowMs() - known.sinceMs < windowMs) return known;
    tries.delete(address);
    return undefined;
  };
  const count = (address: string): void => {
    const known = triesOf(address);
    if (known) known.wrong++;
    else {
      if (tries.size >= LIMITS.wrongKeyAddressesMax) tries.delete(tries.keys().next().value as string);
      tries.set(address, { wrong: 1, sinceMs: nowMs() });
    }
  };

  return async (c, next) => {
    const authorization = c.req.header("authorization");
    // Now: a connection that its caller has closed has no address.
    const from = authorization === undefined ? undefined : senderOf(c, trustProxy);
    if (authorization === undefined || from === undefined) return next();
    const keyId = keyIdOf(authorization);
    const known = tries.size === 0 ? undefined : triesOf(addressOf(from));
    if (known && known.wrong >= LIMITS.wrongKeysMax && !worked.has(keyId))
      throw new TemperaError("keys_tried", undefined, { retryAfterMs: known.sinceMs + windowMs - nowMs() });
    await next();
    if (c.res.status === 401) {
      const call = (c.env as { incoming?: object }).incoming ?? c;
      if (!counted.has(call)) count(addressOf(from));
      counted.add(call);
    } else if (c.res.status < 300 && keyId !== "" && !worked.has(keyId)) {
      if (worked.size >= LIMITS.keysRememberedMax) worked.delete(worked.values().next().value as string);
      worked.add(keyId);
    }
  };
}

/** The id of the key, as it is said to be; "" when the header is of another kind. */
const keyIdOf = (authorization: string): string =>
  /^(?:key|bearer)\s+([0-9a-f-]{36}):/i.exec(authorization)?.[1]?.toLowerCase() ?? "";

/** Where a call comes from, as the connection or the proxy has it. `undefined`: from within this process. */
const senderOf = (c: Context, trustProxy: boolean): string | undefined =>
  (trustProxy ? c.req.header("x-forwarded-for")?.split(",").at(-1)?.trim() : undefined) ??
  (c.env as { incoming?: IncomingMessage } | undefined)?.incoming?.socket.remoteAddress;

/** What is counted of it. */
function addressOf(sender: string): string {
  const plain = sender.replace(/^::ffff:(?=\d+\.)/i, "");
  return isIPv6(plain) ? prefixOf(plain) : plain;
}

/** The /64 of an IPv6 address: one customer of a provider has all of it. */
function prefixOf(address: string): string {
  const [before = "", after] = address.split("::");
  const groups = (part: string): string[] => (part === "" ? [] : part.split(":"));
  const [first, last] = [groups(before), groups(after ?? "")];
  const zeros = after === undefined ? 0 : Math.max(0, 8 - first.length - last.length);
  return [...first, ...Array<string>(zeros).fill("0"), ...last].slice(0, 4).join(":");
}
