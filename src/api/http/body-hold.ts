import type { Context } from "hono";
import type { Hold } from "../limits/budget.ts";

const BODY_HOLD = "bodyHold";

/** Sets the part of the budget of bodies from which the body of a call is read into memory. */
export function setBodyHold(c: Context, hold: Hold): void {
  c.set(BODY_HOLD, hold);
}

/** Returns that part. Throws for a service without the middleware that sets it. */
export function bodyHoldOf(c: Context): Hold {
  const hold = c.get(BODY_HOLD) as Hold | undefined;
  if (!hold) throw new Error(`The service of ${c.req.path} reads bodies without a budget for them.`);
  return hold;
}

/**
 * Gives the bytes of a call's body, if it has one, back before the call has ended: for calls that wait, and
 * have used it.
 */
export function giveBackBody(c: Context): void {
  (c.get(BODY_HOLD) as Hold | undefined)?.[Symbol.dispose]();
}
