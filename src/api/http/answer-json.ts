import type { Context } from "hono";
import { REQUEST_ID_HEADER, requestIdOf } from "./request-id.ts";

/**
 * Answers JSON with the id every answer carries. The response is made from plain values, without a `Headers`
 * object in between: status polls come by the thousand.
 */
export const answerJson = (
  c: Context,
  body: object,
  status = 200,
  headers?: Record<string, string>,
): Response =>
  new Response(JSON.stringify(body), {
    status,
    headers: { "content-type": "application/json", [REQUEST_ID_HEADER]: requestIdOf(c), ...headers },
  });
