import type { Context, Hono } from "hono";
import { writeJson } from "../../core/json/exact-json.ts";
import { LIMITS } from "../../core/limits.ts";
import { TREES } from "../../fal/index.ts";
import { readTokenRequest } from "../../fal/tokens.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { answerJson } from "../http/answer-json.ts";
import { methodNotAllowed } from "../http/method-not-allowed.ts";
import { readJsonBody } from "../http/read-body.ts";
import { REQUEST_ID_HEADER, requestIdOf } from "../http/request-id.ts";
import { callOf } from "./call.ts";

/**
 * Adds the routes of app tokens (contract §5.2): `POST /rest/tokens/` answers the JWT as a JSON string,
 * `/rest/tokens/realtime` as `{token}`. 401 without a key, 422 for an invalid request.
 */
export function tokenRoutes(app: Hono, api: ApiDependencies): void {
  const issue = async (c: Context): Promise<string> => {
    const caller = await api.keyRing.authenticate(c.req.header("authorization"), callOf(c));
    const { allowedApps, seconds } = readTokenRequest(await readJsonBody(c, LIMITS.tokenRequestBytesMax));
    return (await api.tokens.issue(caller, "app", { seconds, allowedApps })).token;
  };
  const asString = async (c: Context): Promise<Response> =>
    new Response(writeJson(await issue(c)), {
      headers: { "content-type": "application/json", [REQUEST_ID_HEADER]: requestIdOf(c) },
    });
  const wrongMethod = methodNotAllowed(api, "POST");

  const path = `${TREES.rest.prefix}/tokens`;
  app.post(path, asString);
  app.post(`${path}/realtime`, async (c) => answerJson(c, { token: await issue(c) }));
  app.all(path, wrongMethod);
  app.all(`${path}/realtime`, wrongMethod);
}
