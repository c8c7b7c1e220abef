import type { Context } from "hono";
import { newRequestId } from "../../core/requests/request-id.ts";

/** On every answer, good or bad: fal's clients tell a broken ingress by its absence (contract §3). */
export const REQUEST_ID_HEADER = "x-fal-request-id";
const VARIABLE = "requestId";

/** Makes an answer about a request carry that request's id. */
export const answerAbout = (c: Context, id: string): void => c.set(VARIABLE, id);

/** The id this answer carries, made at the first call; a submit makes it the id of the new request. */
export function requestIdOf(c: Context): string {
  const known: string | undefined = c.get(VARIABLE);
  if (known) return known;
  const id = newRequestId();
  answerAbout(c, id);
  return id;
}
