import type { Context } from "hono";
import { TemperaError } from "../core/errors/tempera-error.ts";
import type { Log } from "../core/ports/log.ts";
import { answerError } from "./answer-error.ts";

/**
 * What a path answers to every other method (contract §7.3): 405. Routed behind those it knows.
 *
 * @param allow those it knows; HEAD goes as GET
 */
export const methodNotAllowed =
  ({ log }: { log: Log }, allow: "POST" | "GET, HEAD") =>
  (c: Context): Response =>
    answerError(c, new TemperaError("method_not_allowed"), { log, headers: { allow } });
