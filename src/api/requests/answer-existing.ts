import type { Context } from "hono";
import { submitBody } from "../../fal/index.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { addressOf } from "../http/address.ts";
import { answerJson } from "../http/answer-json.ts";
import type { FoundRequest } from "./find-request.ts";
import { REPLAYED_HEADER } from "./idempotency-key.ts";

/** Answers a submit with the existing request of its idempotency key, in that request's present state. */
export function answerExisting(
  c: Context,
  { publicUrl }: Pick<ApiDependencies, "publicUrl">,
  existing: FoundRequest,
): Response {
  const body = {
    ...submitBody(addressOf(c, "queue", publicUrl), existing, existing.position),
    status: existing.state,
  };
  return answerJson(c, body, 200, { [REPLAYED_HEADER]: "true" });
}
