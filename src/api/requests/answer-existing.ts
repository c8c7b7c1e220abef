import type { Context } from "hono";
import { submitBody } from "../../fal/index.ts";
import { addressOf } from "../http/address.ts";
import { answerJson } from "../http/answer-json.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { FoundRequest } from "./find-request.ts";
import { REPLAYED_HEADER } from "./idempotency-key.ts";

/**
 * Answers a submit with the request that an earlier one with the same idempotency key has made, as it stands
 * now.
 */
export function answerStanding(
  c: Context,
  { publicUrl }: Pick<ApiDependencies, "publicUrl">,
  standing: FoundRequest,
): Response {
  const body = {
    ...submitBody(addressOf(c, "queue", publicUrl), standing, standing.position),
    status: standing.state,
  };
  return answerJson(c, body, 200, { [REPLAYED_HEADER]: "true" });
}
