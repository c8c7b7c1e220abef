import type { Context, MiddlewareHandler } from "hono";
import { networkOf } from "../auth/auth-failure-limiter.ts";
import { callOf } from "../auth/call.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { setBodyShare } from "../http/body-share.ts";

/** The methods of calls that write. */
const WRITES = new Set(["POST", "PUT", "PATCH", "DELETE"]);

/**
 * Limits the calls that write, on every route alike: each counts by the rate of its owner and of its key,
 * before anything of its body is read. Its body is read from its owner's part of the budget of bodies, and
 * parsed in its owner's turn. The body of a call whose caller is not known here counts for the caller's
 * address.
 *
 * Answers `rate_limited`, and nothing else: the routes check keys.
 *
 * @param identify finds the caller whose calls are counted
 */
export function createCallLimiter(
  api: Pick<ApiDependencies, "limits" | "budgets" | "trustProxy">,
  identify: (c: Context) => Promise<Caller | undefined>,
): MiddlewareHandler {
  return async (c, next) => {
    if (!WRITES.has(c.req.method)) return next();
    const caller = await identify(c);
    if (caller) await api.limits.countCall(caller);
    const sender = caller?.ownerId ?? nameOfAddress(c, api.trustProxy === true);
    using hold = api.budgets.bodies.acquire(sender, 0);
    setBodyShare(c, { hold, turns: api.budgets.turns, sender });
    await next();
  };
}

/** Names an address, in a form that no name of an owner has. */
export function nameOfAddress(c: Context, trustProxy: boolean): string {
  const { forwardedFor, remoteAddress } = callOf(c);
  return `\0${networkOf(forwardedFor, remoteAddress, trustProxy)}`;
}
