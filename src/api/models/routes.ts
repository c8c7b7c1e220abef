import type { Context, Hono } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { type DescribedModel, llmsText, openapiDocument } from "../../fal/index.ts";
import type { Route } from "../../registry/registry.ts";
import { addressOf, rawPath } from "../http/address.ts";
import { answerJson } from "../http/answer-json.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { methodNotAllowed } from "../http/method-not-allowed.ts";
import { REQUEST_ID_HEADER, requestIdOf } from "../http/request-id.ts";
import { callerRoute } from "../requests/caller-route.ts";

const described = ({ model, pipeline }: Route): DescribedModel => model ?? pipeline;

const LLMS = /^\/models\/(.+)\/llms\.txt\/?$/;

/** Nobody's name: who asks without a key sees of saved workflows what is public. */
const ANYBODY = { ownerId: "" };

/**
 * What fal's web site serves to programs (contract §10.1), for what is served here, without a key: OpenAPI
 * documents, `llms.txt` of each, and one that lists them. Saved workflows have them too; with a key, one's
 * own private ones.
 */
export function modelRoutes(
  app: Hono,
  api: Pick<ApiDependencies, "registry" | "findPipeline" | "flags" | "keyRing" | "publicUrl" | "log">,
): void {
  const { registry, publicUrl, log } = api;
  const find = async (c: Context, endpoint: string): Promise<DescribedModel> => {
    const authorization = c.req.header("authorization");
    const caller =
      authorization !== undefined && endpoint.startsWith("workflows/")
        ? await api.keyRing.authenticate(authorization)
        : ANYBODY;
    return described(await callerRoute(api, caller, { endpoint, requestId: requestIdOf(c) }));
  };
  const at = (c: Context) => ({
    queue: addressOf(c, "queue", publicUrl),
    run: addressOf(c, "run", publicUrl),
    web: addressOf(c, "web", publicUrl),
  });
  const text = (c: Context, body: string): Response =>
    c.body(body, 200, { "content-type": "text/plain; charset=utf-8", [REQUEST_ID_HEADER]: requestIdOf(c) });

  app.get("/api/openapi/queue/openapi.json", async (c) => {
    const endpoint = c.req.query("endpoint_id");
    if (endpoint === undefined)
      throw new TemperaError("path_unknown", "Say which model: ?endpoint_id=owner/alias");
    return answerJson(c, openapiDocument(await find(c, endpoint), at(c)));
  });
  app.get("/models/*", async (c) => {
    const endpoint = LLMS.exec(rawPath(c))?.[1];
    if (endpoint === undefined)
      throw new TemperaError("path_unknown", `Path ${c.req.path.slice(0, 200)} not found`);
    return text(c, llmsText(await find(c, endpoint), at(c)));
  });
  app.get("/llms.txt", (c) => {
    const { web } = at(c);
    const served = new Map(
      [...registry.list(), ...registry.pipelines()].map(({ endpoint }) => [
        endpoint,
        registry.route(endpoint),
      ]),
    );
    const lines = [...served.values()]
      .filter((route): route is Route => route !== undefined)
      .map(described)
      .map(
        ({ title, endpoint, category, description }) =>
          `- [${title}](${web}/models/${endpoint}/llms.txt): \`${endpoint}\`, ${category}. ${description}`,
      );
    return text(
      c,
      `# Tempera\n\n> Models of this server, callable with fal's clients and its HTTP protocol.\n\n## Models\n\n${lines.join("\n")}\n`,
    );
  });
  const wrongMethod = methodNotAllowed({ log }, "GET, HEAD");
  app.all("/api/openapi/queue/openapi.json", wrongMethod);
  // Other paths below it may be a model's, to be run.
  app.all("/models/*", (c, next) => (LLMS.test(rawPath(c)) ? wrongMethod(c) : next()));
  app.all("/llms.txt", wrongMethod);
}
