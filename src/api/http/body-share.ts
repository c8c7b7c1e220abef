import type { Context } from "hono";
import { LIMITS } from "../../core/limits.ts";
import type { Hold } from "../limits/budget.ts";
import type { Turns } from "../limits/turns.ts";

const BODY_SHARE = "bodyShare";

/** The part that a call has of what its service has for bodies. */
export interface BodyShare {
  /** The part of the budget of bodies from which its body is read into memory. */
  hold: Hold;
  turns: Turns;
  /** The owner or the address whose turn the work on its body takes. */
  sender: string;
}

export function setBodyShare(c: Context, share: BodyShare): void {
  c.set(BODY_SHARE, share);
}

/** Returns that part. Throws for a service without the middleware that sets it. */
export function bodyShareOf(c: Context): BodyShare {
  const share = c.get(BODY_SHARE) as BodyShare | undefined;
  if (!share) throw new Error(`The service of ${c.req.path} reads bodies without a budget for them.`);
  return share;
}

/**
 * Gives the bytes of a call's body, if it has one, back before the call has ended: for calls that wait, and
 * have used it.
 */
export function giveBackBody(c: Context): void {
  (c.get(BODY_SHARE) as BodyShare | undefined)?.hold[Symbol.dispose]();
}

/** Tells whether the body of a call is so large that work on it waits for its sender's turn. */
export function isLargeBody({ hold }: Pick<BodyShare, "hold">): boolean {
  return hold.amount >= LIMITS.bodyTurnBytesMin;
}

/**
 * Does work on the body of a call that was parsed: in the turn of its sender, when it is large. Rejects with
 * what the work throws.
 */
export async function inTurn<T>(c: Context, work: () => T | Promise<T>): Promise<T> {
  const share = c.get(BODY_SHARE) as BodyShare | undefined;
  if (!share || !isLargeBody(share)) return work();
  return share.turns.resume(share.sender, work);
}
