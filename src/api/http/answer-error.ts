import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import { CATALOGUE } from "../../core/errors/catalogue.ts";
import { errorInfo, isTemperaError } from "../../core/errors/tempera-error.ts";
import type { Log } from "../../core/operations/log.ts";
import { falError, type QueueVerb } from "../../fal/index.ts";
import { answerJson } from "./answer-json.ts";

/** The bodies fal gives to status and cancel instead of a `detail` (contract §2.2, §2.5). */
const STATUS_WORDS: Record<string, string> = {
  request_unknown: "NOT_FOUND",
  request_finished: "ALREADY_COMPLETED",
};

/**
 * Answers an error in fal's shape. What is not of the catalogue is logged whole and answered as a plain 500.
 */
export function answerError(
  c: Context,
  error: unknown,
  { log, verb, headers: more }: { log: Log; verb?: QueueVerb; headers?: Record<string, string> },
): Response {
  if (!isTemperaError(error)) {
    if (error instanceof HTTPException) return error.getResponse();
    log.error({ err: error, path: c.req.path, method: c.req.method }, "unexpected error");
    return answerJson(c, { detail: "Internal Server Error" }, 500);
  }
  const info = errorInfo(error);
  if (error.code === "store_unavailable") {
    // Which store, where and why is for operators.
    log.warn({ path: c.req.path }, info.message);
    info.message = CATALOGUE.store_unavailable.says;
  }
  const { status, headers, body } = falError(info);
  const word =
    verb === "status" || verb === "stream" || verb === "cancel" ? STATUS_WORDS[error.code] : undefined;
  return answerJson(c, word ? { status: word } : body, status, { ...headers, ...more });
}
