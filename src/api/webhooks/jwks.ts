/**
 * Webhooks at the gateway: their public keys, and the webhook that a submit names (`requested-webhook.ts`).
 */
import type { Hono } from "hono";
import { jwksBody } from "../../fal/webhook.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { answerJson } from "../http/answer-json.ts";
import { methodNotAllowed } from "../http/method-not-allowed.ts";

/** Receivers may cache the keys for a day (contract §8); an hour drops a revoked key sooner. */
const CACHE = "public, max-age=3600";

/**
 * Adds the routes of the public keys that verify webhooks. They need no authentication, and answer 503 while
 * the keys cannot be read.
 */
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
