import type { Context, MiddlewareHandler } from "hono";
import { newRequestId } from "../core/request-id.ts";

export const REQUEST_ID_HEADER = "x-fal-request-id";
const VARIABLE = "requestId";

/** Gives every answer, good or bad, an `x-fal-request-id`: fal's clients tell a broken ingress by its absence (contract §3). */
export const requestId = (): MiddlewareHandler => async (c, next) => {
  const id = newRequestId();
  c.set(VARIABLE, id);
  c.header(REQUEST_ID_HEADER, id);
  await next();
};

/** The id this answer carries; a submit makes it the id of the new request. */
export const requestIdOf = (c: Context): string => c.get(VARIABLE);

/** Makes an answer about a request carry that request's id. */
export const answerAbout = (c: Context, id: string): void => c.header(REQUEST_ID_HEADER, id);
