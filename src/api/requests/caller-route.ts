import { TemperaError } from "../../core/errors/tempera-error.ts";
import { appOf, EXECUTE } from "../../core/models/endpoint.ts";
import type { Flags } from "../../core/models/flags.ts";
import { refuseDisabledRoute } from "../../core/models/refuse-disabled.ts";
import type { Scope } from "../../core/owners/key.ts";
import { assertEndpointPermitted } from "../../core/owners/key-permissions.ts";
import type { FindPipeline, Registry, Route } from "../../registry/registry.ts";
import type { Caller } from "../auth/key-ring.ts";
import { EXECUTION } from "../pipelines/execution.ts";
import { sayNearest } from "./nearest-endpoint.ts";

/**
 * Finds the route of an endpoint in the registry. Throws `endpoint_unknown` or `path_unknown`.
 *
 * @param requestId decides the version during a rollout; absent means the older version
 */
function routeOf(
  registry: Registry,
  { endpoint, requestId }: { endpoint: string; requestId: string },
  caller: { scope?: Scope },
): Route {
  const route = registry.route(endpoint, requestId);
  if (route) return route;
  const app = appOf(endpoint);
  const nearest = sayNearest(registry, endpoint, caller);
  if (!registry.hasApp(app))
    throw new TemperaError("endpoint_unknown", `Application "${app.split("/").at(-1)}" not found${nearest}`);
  throw new TemperaError("path_unknown", `Path /${endpoint.slice(app.length + 1)} not found${nearest}`);
}

/** Begins the endpoints of saved pipelines. */
const SAVED_PREFIX = "workflows/";

/**
 * Finds the route of an endpoint for a caller: a model or pipeline of the registry, one of the saved
 * pipelines, or the pipeline that the call brings along. Rejects with `endpoint_unknown`, `path_unknown`,
 * `key_endpoint_forbidden` when the caller's key may not call it, and `disabled_by_operator` when a flag
 * disables it for this owner.
 */
export async function findCallerRoute(
  { registry, findPipeline, flags }: { registry: Registry; findPipeline: FindPipeline; flags: Flags },
  caller: Pick<Caller, "ownerId" | "permissions"> & { scope?: Scope },
  { endpoint, requestId }: { endpoint: string; requestId: string },
): Promise<Route> {
  assertEndpointPermitted(caller, endpoint);
  const { ownerId } = caller;
  const saved =
    endpoint !== EXECUTE && endpoint.startsWith(SAVED_PREFIX)
      ? await findPipeline(endpoint, ownerId)
      : undefined;
  const route =
    endpoint === EXECUTE ? EXECUTION : (saved ?? routeOf(registry, { endpoint, requestId }, caller));
  refuseDisabledRoute(flags, route, ownerId);
  return route;
}
