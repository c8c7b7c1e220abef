import type { Hono } from "hono";
import { jwksBody } from "../../fal/webhook.ts";
import { answerJson } from "../http/answer-json.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { methodNotAllowed } from "../http/method-not-allowed.ts";

/**
 * Receivers may remember the keys for a day (contract §8); we ask for less, so that a revoked one is
 * forgotten sooner.
 */
const CACHE = "public, max-age=3600";

/** The public keys that webhooks verify with. No key is asked for. 503 while none can be read. */
export function webhookRoutes(
  app: Hono,
  { signingKeys, log }: Pick<ApiDependencies, "signingKeys" | "log">,
): void {
  for (const path of ["/.well-known/jwks.json", "/rest/.well-known/jwks.json"]) {
    app.get(path, async (c) =>
      answerJson(c, jwksBody(await signingKeys.published()), 200, { "cache-control": CACHE }),
    );
    app.all(path, methodNotAllowed({ log }, "GET, HEAD"));
  }
}
