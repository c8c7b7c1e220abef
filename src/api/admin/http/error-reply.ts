import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import { CATALOGUE } from "../../../core/errors/catalogue.ts";
import { isStoreFailure } from "../../../core/errors/store-failure.ts";
import { errorInfo, isTemperaError } from "../../../core/errors/tempera-error.ts";
import type { Log } from "../../../core/operations/log.ts";
import { answerJson } from "../../http/answer-json.ts";
import { requestIdOf } from "../../http/request-id.ts";

const TYPES: Record<number, string> = {
  401: "authorization_error",
  403: "authorization_error",
  404: "not_found",
  429: "rate_limited",
  501: "not_implemented",
};

/** Returns the Platform API's error type for a status (contract §7.3). */
const typeOf = (status: number): string =>
  TYPES[status] ?? (status >= 500 ? "server_error" : "validation_error");

/**
 * Replies with an error in the Platform API's form: `{"error":{"type","message","request_id"}}` (contract
 * §7.3), with two fields for programs beside them: the `code` (docs/errors.md) and, for invalid input, its
 * `faults`.
 */
export function errorReply(
  c: Context,
  error: unknown,
  { log, headers }: { log: Log; headers?: Record<string, string> },
): Response {
  if (!isTemperaError(error)) {
    if (error instanceof HTTPException) return error.getResponse();
    log.error({ err: error, path: c.req.path, method: c.req.method }, "unexpected error");
  }
  if (isTemperaError(error) && error.code === "client_disconnected")
    log.debug({ err: error, path: c.req.path, method: c.req.method }, "the caller disconnected");
  const info = isTemperaError(error)
    ? errorInfo(error)
    : { code: "server_error" as const, message: CATALOGUE.server_error.message };
  if (isStoreFailure(info)) {
    // A store's address and the cause are for operators only.
    log.warn({ path: c.req.path }, info.message);
    if (info.code === "store_unavailable") info.message = CATALOGUE.store_unavailable.message;
  }
  const { status } = CATALOGUE[info.code];
  const { code, message, faults, retryAfterMs = 2_000 } = info;
  return answerJson(
    c,
    { error: { type: typeOf(status), message, code, ...(faults && { faults }), request_id: requestIdOf(c) } },
    status,
    {
      ...((status === 429 || status === 503) && {
        "retry-after": String(Math.max(1, Math.ceil(retryAfterMs / 1000))),
      }),
      ...headers,
    },
  );
}
