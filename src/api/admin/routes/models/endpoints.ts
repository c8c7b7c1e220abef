import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../../core/limits.ts";
import type { ModelVersion } from "../../../../core/models/model.ts";
import type { DescribedModel } from "../../../../fal/index.ts";
import type { Registry, Route } from "../../../../registry/registry.ts";

/** Returns the schema of a query parameter that may be repeated. */
export function listed<T extends z.ZodType>(item: T, maximum: number) {
  const { $schema: _, ...items } = z.toJSONSchema(item);
  return z
    .preprocess(
      (value) => (value === undefined || Array.isArray(value) ? value : [value]),
      z.array(item).min(1).max(maximum),
    )
    .openapi({ type: "array", items: items as { type: "string" }, minItems: 1, maxItems: maximum });
}

/** The query parameter `endpoint_id`, once or repeated. */
export const ENDPOINT_IDS = listed(z.string().max(300), LIMITS.endpointsPerCallMax);

/** The model version or the built-in pipeline that an endpoint leads to now. */
export interface Served extends DescribedModel {
  digest: string;
  publishedAtMs?: number;
  /** Absent for a pipeline. */
  model?: ModelVersion;
}

const servedBy = (route: Route): Served =>
  route.model ? { ...route.model, model: route.model } : route.pipeline;

/** Returns what each endpoint leads to. Throws `endpoint_unknown` for the first one that leads nowhere. */
export function servedOf(registry: Pick<Registry, "route">, endpoints: readonly string[]): Served[] {
  return [...new Set(endpoints)].map((endpoint) => {
    const route = registry.route(endpoint);
    if (!route) throw new TemperaError("endpoint_unknown", `There is no endpoint ${endpoint.slice(0, 100)}.`);
    return servedBy(route);
  });
}

/** Returns what every endpoint leads to, in order of the endpoints' names. */
export function allServed(registry: Pick<Registry, "route" | "list" | "pipelines">): Served[] {
  return [...new Set([...registry.list(), ...registry.pipelines()].map(({ endpoint }) => endpoint))]
    .flatMap((endpoint) => registry.route(endpoint) ?? [])
    .map(servedBy)
    .sort((a, b) => (a.endpoint < b.endpoint ? -1 : 1));
}
