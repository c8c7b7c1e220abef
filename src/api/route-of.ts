import { appOf } from "../core/endpoint.ts";
import { TemperaError } from "../core/errors/tempera-error.ts";
import type { FindPipeline, Registry, Route } from "../registry/registry.ts";

/** The route of an endpoint of the registry. Throws `endpoint_unknown` or `path_unknown`. */
export function routeOf(registry: Registry, endpoint: string): Route {
  const route = registry.route(endpoint);
  if (route) return route;
  const app = appOf(endpoint);
  if (!registry.hasApp(app)) throw new TemperaError("endpoint_unknown", `Application "${app.split("/").at(-1)}" not found`);
  throw new TemperaError("path_unknown", `Path /${endpoint.slice(app.length + 1)} not found`);
}

/** Where saved pipelines are found: behind this owner's name for them. */
const SAVED = "workflows/";

/** The same for a caller, who may have saved pipelines too. What the registry knows is found without waiting. */
export async function callerRoute(
  { registry, findPipeline }: { registry: Registry; findPipeline: FindPipeline },
  { ownerId }: { ownerId: string },
  endpoint: string,
): Promise<Route> {
  const saved = endpoint.startsWith(SAVED) ? await findPipeline(endpoint, ownerId) : undefined;
  return saved ?? routeOf(registry, endpoint);
}
