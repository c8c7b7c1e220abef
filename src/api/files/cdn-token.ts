import type { Context } from "hono";
import { LIMITS } from "../../core/limits.ts";
import { cdnTokenBody } from "../../fal/index.ts";
import { callOf } from "../auth/call.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { filesAddressOf } from "../http/address.ts";
import { answerJson } from "../http/answer-json.ts";

/**
 * `POST /rest/storage/auth/token`: issues a token that uploads and reads files as its caller for an hour,
 * with the address of the files tree (contract §6.2).
 */
export function createCdnToken(api: Pick<ApiDependencies, "keyRing" | "tokens" | "publicUrl" | "filesUrl">) {
  return async (c: Context): Promise<Response> => {
    const caller = await api.keyRing.authenticate(c.req.header("authorization"), callOf(c));
    const { token, expiresAtMs } = await api.tokens.issue(caller, "cdn", { seconds: LIMITS.cdnTokenSeconds });
    return answerJson(c, cdnTokenBody(token, expiresAtMs, filesAddressOf(c, api)));
  };
}
