import type { Context } from "hono";
import type { JsonObject } from "../core/json.ts";
import type { Outcome } from "../core/request.ts";
import { retrieve } from "../core/stored.ts";
import { unitsOf } from "../core/usage.ts";
import { falError } from "../fal/index.ts";
import { answerJson } from "./answer-json.ts";
import type { ApiDependencies } from "./dependencies.ts";

/** Answers with what a model gave: the bare output, or its error with the error's own status. */
export async function answerOutcome(
  c: Context,
  { objects }: Pick<ApiDependencies, "objects">,
  outcome: Outcome,
  more: Record<string, string> = {},
): Promise<Response> {
  if (outcome.ok) {
    return answerJson(c, await retrieve<JsonObject>(objects, outcome.output), 200, {
      "x-fal-billable-units": String(unitsOf(outcome)),
      ...more,
    });
  }
  const { status, headers, body } = falError(outcome.error, { userTimeout: outcome.userTimeout === true });
  return answerJson(c, body, status, { ...headers, "x-fal-billable-units": String(unitsOf(outcome)), ...more });
}
