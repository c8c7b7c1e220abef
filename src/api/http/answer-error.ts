import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import { CATALOGUE } from "../../core/errors/catalogue.ts";
import { isStoreFailure } from "../../core/errors/store-failure.ts";
import { errorInfo, isTemperaError } from "../../core/errors/tempera-error.ts";
import type { Log } from "../../core/operations/log.ts";
import { falError, type QueueAction } from "../../fal/index.ts";
import { answerJson } from "./answer-json.ts";

/** The words by which fal answers status and cancel instead of a `detail` (contract §2.2, §2.5). */
const STATUS_WORDS: Record<string, string> = {
  request_unknown: "NOT_FOUND",
  request_finished: "ALREADY_COMPLETED",
};
const ACTIONS_WITH_WORDS: readonly (QueueAction | undefined)[] = ["status", "stream", "cancel"];

/**
 * Answers an error in fal's shape. An error outside the catalogue is logged whole and answered as a plain
 * 500.
 *
 * @param action the queue action that failed, if one did
 */
export function answerError(
  c: Context,
  error: unknown,
  {
    log,
    action,
    headers: extraHeaders,
  }: { log: Log; action?: QueueAction; headers?: Record<string, string> },
): Response {
  if (!isTemperaError(error)) {
    if (error instanceof HTTPException) return error.getResponse();
    log.error({ err: error, path: c.req.path, method: c.req.method }, "unexpected error");
    return answerJson(c, { detail: "Internal Server Error" }, 500);
  }
  const info = errorInfo(error);
  if (error.code === "client_disconnected")
    log.debug({ err: error, path: c.req.path, method: c.req.method }, "the caller disconnected");
  if (isStoreFailure(error)) {
    // Operators need to know which store, where and why; callers only whether one is full.
    log.warn({ path: c.req.path }, info.message);
    if (error.code === "store_unavailable") info.message = CATALOGUE.store_unavailable.message;
  }
  const { status, headers, body } = falError(info);
  const word = ACTIONS_WITH_WORDS.includes(action) ? STATUS_WORDS[error.code] : undefined;
  return answerJson(c, word ? { status: word } : body, status, { ...headers, ...extraHeaders });
}
