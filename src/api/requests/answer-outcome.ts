import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { JsonObject } from "../../core/json/json.ts";
import type { Outcome } from "../../core/requests/request.ts";
import { retrieve } from "../../core/files/stored-value.ts";
import { unitsOf } from "../../core/owners/usage.ts";
import { CACHE_HEADER, falError } from "../../fal/index.ts";
import { answerJson } from "../http/answer-json.ts";
import type { ApiDependencies } from "../dependencies.ts";

/** Answers with what a model gave: the bare output, or its error with the error's own status. */
export async function answerOutcome(
  c: Context,
  { objects }: Pick<ApiDependencies, "objects">,
  outcome: Outcome,
  more: Record<string, string> = {},
): Promise<Response> {
  if (outcome.ok) {
    const { output, cache } = outcome;
    const value = await retrieve<JsonObject>(objects, output).catch(async (error) => {
      // Deleted on purpose, or its time has passed: nobody has to try again.
      if ("ref" in output && !(await objects.head(output.ref)))
        throw new TemperaError("payload_gone", undefined, { cause: error });
      throw error;
    });
    const headers = {
      "x-fal-billable-units": String(unitsOf(outcome)),
      ...(cache && { [CACHE_HEADER]: cache }),
      ...more,
    };
    return answerJson(c, value, 200, headers);
  }
  const { status, headers, body } = falError(outcome.error, { userTimeout: outcome.userTimeout === true });
  return answerJson(c, body, status, {
    ...headers,
    "x-fal-billable-units": String(unitsOf(outcome)),
    ...more,
  });
}
