import type { Context } from "hono";
import { writeJson } from "../../core/json/exact-json.ts";
import { REQUEST_ID_HEADER, requestIdOf } from "./request-id.ts";

/**
 * Answers JSON with the id that every response carries. No cache may store the answer, unless `headers` say
 * otherwise: it is one caller's, and most answers change. Makes the response from plain values, without a
 * `Headers` object in between, since status polls come by the thousand.
 */
export function answerJson(
  c: Context,
  body: object,
  status = 200,
  headers?: Record<string, string>,
): Response {
  return new Response(writeJson(body), {
    status,
    headers: { ...jsonHeaders(c), ...headers },
  });
}

/** Gives the headers of every answer that is JSON. */
export function jsonHeaders(c: Context): Record<string, string> {
  return {
    "content-type": "application/json",
    "cache-control": "no-store",
    [REQUEST_ID_HEADER]: requestIdOf(c),
  };
}
