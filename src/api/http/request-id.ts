import type { Context } from "hono";
import { newRequestId } from "../../core/requests/request-id.ts";

/** Set on every answer, good or bad: fal's clients recognise a broken proxy by its absence (contract §3). */
export const REQUEST_ID_HEADER = "x-fal-request-id";
const VARIABLE = "requestId";

/** Makes the answer carry the id of the request that it is about. */
export function setRequestId(c: Context, id: string): void {
  c.set(VARIABLE, id);
}

/** Returns the id that the answer carries, made at the first use. A submit gives it to the new request. */
export function requestIdOf(c: Context): string {
  const known: string | undefined = c.get(VARIABLE);
  if (known) return known;
  const id = newRequestId();
  setRequestId(c, id);
  return id;
}
