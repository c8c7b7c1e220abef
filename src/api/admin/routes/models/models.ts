/**
 * The admin API of models: the catalogue that callers see (`models.ts`, `pricing.ts`, `apps.ts`), and the
 * control of what is served (`registry.ts`, `rollouts.ts`, `flags.ts`).
 */
import { z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { errorInfo } from "../../../../core/errors/tempera-error.ts";
import type { JsonObject } from "../../../../core/json/json.ts";
import type { ModelVersion } from "../../../../core/models/model.ts";
import { openapiDocument } from "../../../../fal/index.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { addressOf } from "../../../http/address.ts";
import { cursorOf, PAGE_FIELDS, PAGE_QUERY, paged, textAfter } from "../../http/page.ts";
import type { AddRoute } from "../../http/route.ts";
import { allServed, ENDPOINT_IDS, listed, type Served, servedOf } from "./endpoints.ts";

const EXPANSION_FAILED = z.object({ error: z.object({ code: z.string(), message: z.string() }) });

const MODEL = z
  .object({
    endpoint_id: z.string(),
    metadata: z.object({
      display_name: z.string(),
      category: z.string(),
      description: z.string(),
      status: z.enum(["active", "deprecated"]),
      tags: z.array(z.string()),
      updated_at: z.string(),
      date: z.string(),
      is_favorited: z.boolean(),
      highlighted: z.boolean(),
      pinned: z.boolean(),
      thumbnail_url: z.string(),
      model_url: z.string(),
      kind: z.enum(["inference", "training"]),
    }),
    version: z.string().openapi({ description: "The version that serves the endpoint now." }),
    digest: z.string(),
    openapi: z.union([z.record(z.string(), z.unknown()), EXPANSION_FAILED]).optional(),
    enterprise_status: z.enum(["ready", "pending"]).optional(),
    serving: z
      .object({
        runner: z.string(),
        engine: z.string(),
        slots: z.int(),
        memory_mib: z.number(),
        pinned: z.boolean(),
        versions: z
          .array(z.string())
          .openapi({ description: "All versions that can be called, newest first." }),
      })
      .optional()
      .openapi({ description: "For models only, and for keys of scope ADMIN only." }),
  })
  .openapi("Model");

/** A model or a pipeline, as the API shows it. */
export type ModelView = z.output<typeof MODEL>;

const QUERY = PAGE_QUERY.extend({
  endpoint_id: ENDPOINT_IDS.optional(),
  q: z
    .string()
    .max(200)
    .optional()
    .openapi({ description: "Words of the endpoint, the title, the description or the category." }),
  category: z.string().max(100).optional(),
  status: z.enum(["active", "deprecated"]).optional(),
  expand: listed(z.enum(["openapi-3.0", "enterprise_status"]), 2).optional(),
});

/** Returns true if the model's texts contain every word of a search. */
function matches({ endpoint, title, description, category }: Served, q: string): boolean {
  const text = `${endpoint} ${title} ${description} ${category}`.toLowerCase();
  return q
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

const publishedAt = ({ publishedAtMs = 0 }: Served): string => new Date(publishedAtMs).toISOString();

const metadataBody = (c: Context, model: Served, publicUrl: string | undefined) => ({
  display_name: model.title,
  category: model.category,
  description: model.description,
  status: "active" as const,
  tags: [],
  updated_at: publishedAt(model),
  date: publishedAt(model),
  is_favorited: false,
  highlighted: false,
  pinned: false,
  thumbnail_url: "",
  model_url: `${addressOf(c, "web", publicUrl)}/models/${model.endpoint}/llms.txt`,
  kind: "inference" as const,
});

/** Returns how a model version is run, with the other versions of its endpoint that can be called. */
const servingBody = (
  { endpoint, runner, engine, slots, memoryMiB, pinned }: ModelVersion,
  all: ModelVersion[],
) => ({
  runner,
  engine,
  slots,
  memory_mib: memoryMiB,
  pinned,
  versions: all.filter((each) => each.endpoint === endpoint).map(({ version }) => version),
});

type Dependencies = Pick<ApiDependencies, "registry" | "publicUrl" | "log">;

/** Adds the route of the catalogue: the models and pipelines that can be called (contract §10). */
export function addModelRoutes(addRoute: AddRoute, api: Dependencies): void {
  const { registry, publicUrl } = api;
  addRoute(
    {
      method: "get",
      path: "/v1/models",
      summary: "Lists, searches and describes the models and pipelines that can be called, by endpoint.",
      scope: "optional",
      query: QUERY,
      response: z.object({ models: z.array(MODEL), ...PAGE_FIELDS }),
      errors: ["endpoint_unknown"],
    },
    async ({ c, caller, query }) => {
      const { limit, cursor, endpoint_id, q, category, status, expand } = query;
      const after = textAfter({ cursor });
      const found = (endpoint_id ? servedOf(registry, endpoint_id) : allServed(registry)).filter(
        (model) =>
          (after === undefined || model.endpoint > after) &&
          (q === undefined || matches(model, q)) &&
          (category === undefined || model.category === category) &&
          status !== "deprecated",
      );
      found.sort((a, b) => (a.endpoint < b.endpoint ? -1 : 1));
      const { items, ...page } = paged(found, limit, ({ endpoint }) => cursorOf(endpoint));
      const models = items.map(
        (model): z.input<typeof MODEL> => ({
          endpoint_id: model.endpoint,
          metadata: metadataBody(c, model, publicUrl),
          version: model.version,
          digest: model.digest,
          ...(expand?.includes("openapi-3.0") && { openapi: openapiOf(c, model, api) }),
          ...(expand?.includes("enterprise_status") && { enterprise_status: "ready" as const }),
          ...(caller?.scope === "ADMIN" &&
            model.model && { serving: servingBody(model.model, registry.list()) }),
        }),
      );
      return { models, ...page };
    },
  );
}

/** Returns the OpenAPI document of a model, or an error in its stead, so that the list is never lost. */
function openapiOf(c: Context, model: Served, { publicUrl, log }: Dependencies): JsonObject {
  try {
    return openapiDocument(model, {
      queue: addressOf(c, "queue", publicUrl),
      web: addressOf(c, "web", publicUrl),
    });
  } catch (error) {
    log.error(
      { err: errorInfo(error), endpoint: model.endpoint, version: model.version },
      "the OpenAPI document of a model cannot be made",
    );
    return {
      error: { code: "openapi_unavailable", message: "The OpenAPI document of this model cannot be made." },
    };
  }
}
