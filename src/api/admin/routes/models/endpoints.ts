import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../../core/limits.ts";
import type { ModelVersion } from "../../../../core/models/model.ts";
import type { DescribedModel } from "../../../../fal/index.ts";
import type { Registry, Route } from "../../../../registry/registry.ts";

/** A query parameter that may be repeated. */
export const listed = <T extends z.ZodType>(item: T, maximum: number) =>
  z
    .preprocess(
      (value) => (value === undefined || Array.isArray(value) ? value : [value]),
      z.array(item).min(1).max(maximum),
    )
    .openapi({ type: "array", items: { type: "string" }, maxItems: maximum });

/** `endpoint_id`, once or more. */
export const ENDPOINT_IDS = listed(z.string().max(300), LIMITS.endpointsAskedMax);

/** What an endpoint leads to now: a model version, or a pipeline that came with the program. */
export interface Served extends DescribedModel {
  digest: string;
  publishedAtMs?: number;
  /** Absent: it is a pipeline. */
  model?: ModelVersion;
}

const servedBy = (route: Route): Served =>
  route.model ? { ...route.model, model: route.model } : route.pipeline;

/** What each endpoint leads to. Throws `endpoint_unknown` for the first that leads nowhere. */
export const servedOf = (registry: Pick<Registry, "route">, endpoints: readonly string[]): Served[] =>
  [...new Set(endpoints)].map((endpoint) => {
    const route = registry.route(endpoint);
    if (!route) throw new TemperaError("endpoint_unknown", `There is no endpoint ${endpoint.slice(0, 100)}.`);
    return servedBy(route);
  });

/** Every endpoint once, by name. */
export const allServed = (registry: Pick<Registry, "route" | "list" | "pipelines">): Served[] =>
  [...new Set([...registry.list(), ...registry.pipelines()].map(({ endpoint }) => endpoint))]
    .flatMap((endpoint) => registry.route(endpoint) ?? [])
    .map(servedBy)
    .sort((a, b) => (a.endpoint < b.endpoint ? -1 : 1));
