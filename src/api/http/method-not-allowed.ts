import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { Log } from "../../core/operations/log.ts";
import { answerError } from "./answer-error.ts";

/**
 * What a path answers to every other method (contract §7.3): 405.
 *
 * @param allow those it knows, as the header has them: `GET, HEAD`
 */
export const methodNotAllowed =
  ({ log }: { log: Log }, allow: string) =>
  (c: Context): Response =>
    answerError(c, new TemperaError("method_not_allowed"), { log, headers: { allow } });
