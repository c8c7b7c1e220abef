/** The descriptions of models for programs: OpenAPI documents and `llms.txt`. */

import type { Context, Hono } from "hono";
import { LRUCache } from "lru-cache";
import { isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import { type DescribedModel, llmsText, openapiDocument } from "../../fal/index.ts";
import type { Registry, Route } from "../../registry/registry.ts";
import { callOf } from "../auth/call.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { addressOf, rawPath } from "../http/address.ts";
import { answerJson } from "../http/answer-json.ts";
import { methodNotAllowed } from "../http/method-not-allowed.ts";
import { REQUEST_ID_HEADER, requestIdOf } from "../http/request-id.ts";
import { nameOfAddress } from "../limits/call-limiter.ts";
import { findCallerRoute } from "../requests/caller-route.ts";

type ModelsApi = Pick<
  ApiDependencies,
  "registry" | "findPipeline" | "flags" | "keyRing" | "publicUrl" | "log" | "budgets" | "trustProxy"
>;

const OPENAPI_PATH = "/api/openapi/queue/openapi.json";
const LLMS_PATH = /^\/models\/(.+)\/llms\.txt\/?$/;

/** The caller without a key, who sees only the public ones of the saved workflows. */
const ANONYMOUS = { ownerId: "" };

/**
 * Adds what fal's web site serves to programs (contract §10.1), for the models of this server: OpenAPI
 * documents, an `llms.txt` for each model, and one that lists them. They need no key. Saved workflows have
 * them too; a caller with a key also gets those of its private ones.
 */
export function modelRoutes(app: Hono, api: ModelsApi): void {
  const addresses = (c: Context) => ({
    queue: addressOf(c, "queue", api.publicUrl),
    run: addressOf(c, "run", api.publicUrl),
    web: addressOf(c, "web", api.publicUrl),
  });

  const findModel = createFindModel(api);

  app.get(OPENAPI_PATH, async (c) => {
    const endpoint = c.req.query("endpoint_id");
    if (endpoint === undefined)
      throw new TemperaError("path_unknown", "Name the model in the query: ?endpoint_id=owner/alias");
    return answerJson(c, openapiDocument(await findModel(c, endpoint), addresses(c)));
  });
  app.get("/models/*", async (c) => {
    const endpoint = LLMS_PATH.exec(rawPath(c))?.[1];
    if (endpoint === undefined)
      throw new TemperaError("path_unknown", `Path ${c.req.path.slice(0, 200)} not found`);
    return answerText(c, llmsText(await findModel(c, endpoint), addresses(c)));
  });
  app.get("/llms.txt", (c) => answerText(c, listModels(api.registry, addresses(c).web)));

  const wrongMethod = methodNotAllowed(api, "GET, HEAD");
  app.all(OPENAPI_PATH, wrongMethod);
  // Other paths below it may be those of a model, to run it.
  app.all("/models/*", (c, next) => (LLMS_PATH.test(rawPath(c)) ? wrongMethod(c) : next()));
  app.all("/llms.txt", wrongMethod);
}

/**
 * Finds the model, or the saved workflow, that a caller asks about. For callers without a key, workflows are
 * looked up a few at a time, and addresses take turns. Rejects as `findCallerRoute` does, and with
 * `rate_limited` for an address that asks for many workflows that it cannot see.
 */
function createFindModel(api: ModelsApi): (c: Context, endpoint: string) => Promise<DescribedModel> {
  const find = async (c: Context, endpoint: string, caller: { ownerId: string }) =>
    describedBy(await findCallerRoute(api, caller, { endpoint, requestId: requestIdOf(c) }));
  const unknown = new LRUCache<string, TemperaError>({
    max: LIMITS.unknownWorkflowsCachedMax,
    ttl: LIMITS.unknownWorkflowMs,
  });
  /** The unknown workflows that an address has requested. */
  const requested = new LRUCache<string, number>({
    max: LIMITS.authFailureAddressesMax,
    ttl: LIMITS.unknownWorkflowsWindowMs,
    noUpdateTTL: true,
  });

  const findPublic = async (c: Context, endpoint: string, sender: string): Promise<DescribedModel> => {
    const known = unknown.get(endpoint);
    if (known) throw known;
    // Counted in its turn, since many calls may have come at once.
    const count = requested.get(sender) ?? 0;
    if (count >= LIMITS.unknownWorkflowsMax)
      throw new TemperaError(
        "rate_limited",
        `Your address requested ${count} workflows that are not public or do not exist. ` +
          "Try again in half a minute, or send your key.",
        { retryAfterMs: LIMITS.unknownWorkflowsWindowMs },
      );
    try {
      return await find(c, endpoint, ANONYMOUS);
    } catch (error) {
      if (!isTemperaError(error) || error.code === "store_unavailable") throw error;
      unknown.set(endpoint, error);
      requested.set(sender, (requested.get(sender) ?? 0) + 1);
      throw error;
    }
  };

  return async (c, endpoint) => {
    if (!endpoint.startsWith("workflows/")) return find(c, endpoint, ANONYMOUS);
    const authorization = c.req.header("authorization");
    if (authorization !== undefined)
      return find(c, endpoint, await api.keyRing.authenticate(authorization, callOf(c)));
    const sender = nameOfAddress(c, api.trustProxy === true);
    return api.budgets.lookups.run(sender, 1, () => findPublic(c, endpoint, sender));
  };
}

function describedBy({ model, pipeline }: Route): DescribedModel {
  return model ?? pipeline;
}

/** Writes the `llms.txt` that lists the models and pipelines of this server. */
function listModels(registry: Registry, web: string): string {
  const endpoints = new Set([...registry.list(), ...registry.pipelines()].map(({ endpoint }) => endpoint));
  const lines = [...endpoints]
    .map((endpoint) => registry.route(endpoint))
    .filter((route): route is Route => route !== undefined)
    .map(describedBy)
    .map(
      ({ title, endpoint, category, description }) =>
        `- [${title}](${web}/models/${endpoint}/llms.txt): \`${endpoint}\`, ${category}. ${description}`,
    );
  return [
    "# Tempera\n",
    "> Models of this server, callable with fal's clients and its HTTP protocol.\n",
    "## Models\n",
    `${lines.join("\n")}\n`,
  ].join("\n");
}

function answerText(c: Context, body: string): Response {
  return c.body(body, 200, {
    "content-type": "text/plain; charset=utf-8",
    [REQUEST_ID_HEADER]: requestIdOf(c),
  });
}
