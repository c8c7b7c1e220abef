import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { Log } from "../../core/operations/log.ts";
import { answerError } from "./answer-error.ts";

/**
 * Makes the handler that answers 405 to all other methods of a path (contract §7.3).
 *
 * @param allow the methods that the path has, as in the header: `GET, HEAD`
 */
export function methodNotAllowed({ log }: { log: Log }, allow: string) {
  return (c: Context): Response =>
    answerError(c, new TemperaError("method_not_allowed"), { log, headers: { allow } });
}
