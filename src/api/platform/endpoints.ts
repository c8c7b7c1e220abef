import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { ModelVersion } from "../../core/model.ts";
import type { Registry } from "../../registry/registry.ts";

/** A query parameter that may be repeated. */
export const listed = <T extends z.ZodType>(item: T, maximum: number) =>
  z
    .preprocess((value) => (value === undefined || Array.isArray(value) ? value : [value]), z.array(item).min(1).max(maximum))
    .openapi({ type: "array", items: { type: "string" }, maxItems: maximum });

/** `endpoint_id`, once or more. */
export const ENDPOINT_IDS = listed(z.string().max(300), LIMITS.endpointsAskedMax);

/** The version that serves each endpoint now. Throws `endpoint_unknown` for the first that nothing does. */
export const servedOf = (registry: Pick<Registry, "route">, endpoints: readonly string[]): ModelVersion[] =>
  [...new Set(endpoints)].map((endpoint) => {
    const served = registry.route(endpoint)?.model;
    if (!served) throw new TemperaError("endpoint_unknown", `There is no endpoint ${endpoint.slice(0, 100)}.`);
    return served;
  });

/** Every endpoint once, with the version that serves it, by name. */
export const allServed = (registry: Pick<Registry, "route" | "list">): ModelVersion[] =>
  [...new Set(registry.list().map(({ endpoint }) => endpoint))]
    .flatMap((endpoint) => registry.route(endpoint)?.model ?? [])
    .sort((a, b) => (a.endpoint < b.endpoint ? -1 : 1));
