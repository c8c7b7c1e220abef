import { z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { errorInfo } from "../../../../core/errors/tempera-error.ts";
import type { JsonObject } from "../../../../core/json/json.ts";
import type { ModelVersion } from "../../../../core/models/model.ts";
import { openapiDocument } from "../../../../fal/index.ts";
import { addressOf } from "../../../http/address.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { allServed, ENDPOINT_IDS, listed, type Served, servedOf } from "./endpoints.ts";
import { cursorOf, PAGE_ANSWER, PAGE_QUERY, paged, readCursor } from "../../http/page.ts";
import type { AddVerb } from "../../http/route.ts";

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
    version: z.string().openapi({ description: "The version that serves it now." }),
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
        versions: z.array(z.string()).openapi({ description: "All that can be called, newest first." }),
      })
      .optional()
      .openapi({ description: "Of models, for keys of scope ADMIN." }),
  })
  .openapi("Model");

/** Whether each word of a search stands in what is said of a model. */
function matches({ endpoint, title, description, category }: Served, q: string): boolean {
  const text = `${endpoint} ${title} ${description} ${category}`.toLowerCase();
  return q
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

const publishedAt = ({ publishedAtMs = 0 }: Served): string => new Date(publishedAtMs).toISOString();

/** How a model version is run, and which others of its endpoint can be called. */
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

/** What can be called (contract §10). */
export function addModelVerbs(
  add: AddVerb,
  { registry, publicUrl, log }: Pick<ApiDependencies, "registry" | "publicUrl" | "log">,
): void {
  /** The OpenAPI document of a model; one that cannot be made must not take the list with it. */
  const openapiOf = (c: Context, model: Served): JsonObject => {
    try {
      return openapiDocument(model, {
        queue: addressOf(c, "queue", publicUrl),
        web: addressOf(c, "web", publicUrl),
      });
    } catch (error) {
      log.error(
        { err: errorInfo(error), endpoint: model.endpoint, version: model.version },
        "its OpenAPI document cannot be made",
      );
      return {
        error: { code: "openapi_unavailable", message: "The OpenAPI document of this model cannot be made." },
      };
    }
  };

  add(
    {
      method: "get",
      path: "/v1/models",
      says: "Lists, finds and describes what can be called, by endpoint.",
      scope: "optional",
      query: PAGE_QUERY.extend({
        endpoint_id: ENDPOINT_IDS.optional(),
        q: z
          .string()
          .max(200)
          .optional()
          .openapi({ description: "Words of endpoint, title, description or category." }),
        category: z.string().max(100).optional(),
        status: z.enum(["active", "deprecated"]).optional(),
        expand: listed(z.enum(["openapi-3.0", "enterprise_status"]), 2).optional(),
      }),
      answer: z.object({ models: z.array(MODEL), ...PAGE_ANSWER }),
      errors: ["endpoint_unknown"],
    },
    async ({ c, caller, query: { limit, cursor, endpoint_id, q, category, status, expand } }) => {
      const after = cursor === undefined ? undefined : readCursor(cursor, z.tuple([z.string()]))[0];
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
          metadata: {
            display_name: model.title,
            category: model.category,
            description: model.description,
            status: "active",
            tags: [],
            updated_at: publishedAt(model),
            date: publishedAt(model),
            is_favorited: false,
            highlighted: false,
            pinned: false,
            thumbnail_url: "",
            model_url: `${addressOf(c, "web", publicUrl)}/models/${model.endpoint}/llms.txt`,
            kind: "inference",
          },
          version: model.version,
          digest: model.digest,
          ...(expand?.includes("openapi-3.0") && { openapi: openapiOf(c, model) }),
          ...(expand?.includes("enterprise_status") && { enterprise_status: "ready" as const }),
          ...(caller?.scope === "ADMIN" &&
            model.model && { serving: servingBody(model.model, registry.list()) }),
        }),
      );
      return { models, ...page };
    },
  );
}
