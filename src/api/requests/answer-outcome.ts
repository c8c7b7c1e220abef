import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { retrieve } from "../../core/files/stored-value.ts";
import type { JsonObject } from "../../core/json/json.ts";
import { unitsOf } from "../../core/owners/usage.ts";
import type { Outcome } from "../../core/requests/request.ts";
import { CACHE_HEADER, falError } from "../../fal/index.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { answerJson } from "../http/answer-json.ts";
import { followCaller, type OutputAddressDependencies } from "../http/output-addresses.ts";

/**
 * Answers with a model's outcome: the bare output, or its error with the error's own status.
 *
 * @param ownerId the owner of the request, who is its caller too
 * @param extraHeaders added to those of the outcome
 */
export async function answerOutcome(
  c: Context,
  api: Pick<ApiDependencies, "objects"> & OutputAddressDependencies,
  { outcome, ownerId }: { outcome: Outcome; ownerId: string },
  extraHeaders: Record<string, string> = {},
): Promise<Response> {
  if (outcome.ok) {
    const { objects } = api;
    const { output, cache } = outcome;
    const value = await retrieve<JsonObject>(objects, output).catch(async (error) => {
      // Deleted on purpose, or its retention time has passed: trying again would not help.
      if ("ref" in output && !(await objects.head(output.ref)))
        throw new TemperaError("payload_gone", undefined, { cause: error });
      throw error;
    });
    const headers = {
      "x-fal-billable-units": String(unitsOf(outcome)),
      ...(cache && { [CACHE_HEADER]: cache }),
      ...extraHeaders,
    };
    return answerJson(c, followCaller(c, api, value, ownerId), 200, headers);
  }
  const { status, headers, body } = falError(outcome.error, { userTimeout: outcome.userTimeout === true });
  return answerJson(c, body, status, {
    ...headers,
    "x-fal-billable-units": String(unitsOf(outcome)),
    ...extraHeaders,
  });
}
