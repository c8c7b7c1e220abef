import { appOf, EXECUTE } from "../../core/models/endpoint.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { Behaviour, Flags } from "../../core/models/flags.ts";
import type { FindPipeline, Registry, Route } from "../../registry/registry.ts";
import { EXECUTION } from "../pipelines/execution.ts";

/**
 * The route of an endpoint of the registry. Throws `endpoint_unknown` or `path_unknown`.
 *
 * @param requestId decides which version of a rollout it is; absent: the older one
 */
function routeOf(registry: Registry, endpoint: string, requestId?: string): Route {
  const route = registry.route(endpoint, requestId);
  if (route) return route;
  const app = appOf(endpoint);
  if (!registry.hasApp(app))
    throw new TemperaError("endpoint_unknown", `Application "${app.split("/").at(-1)}" not found`);
  throw new TemperaError("path_unknown", `Path /${endpoint.slice(app.length + 1)} not found`);
}

/** Where saved pipelines are found: behind this owner's name for them. */
const SAVED = "workflows/";

/**
 * The same for a caller, who may have saved pipelines too, or bring one along. What the registry knows is
 * found without waiting. Throws `switched_off` for what a flag keeps from this owner.
 */
export async function callerRoute(
  { registry, findPipeline, flags }: { registry: Registry; findPipeline: FindPipeline; flags: Flags },
  { ownerId }: { ownerId: string },
  { endpoint, requestId }: { endpoint: string; requestId: string },
): Promise<Route> {
  const saved =
    endpoint !== EXECUTE && endpoint.startsWith(SAVED) ? await findPipeline(endpoint, ownerId) : undefined;
  const route = endpoint === EXECUTE ? EXECUTION : (saved ?? routeOf(registry, endpoint, requestId));
  refuseOff(flags, route, ownerId);
  return route;
}

/** Throws `switched_off` when a flag keeps this model or workflow from this owner. */
export function refuseOff(flags: Flags, { model, pipeline }: Route, ownerId: string): void {
  refuseEndpointOff(flags, model ? "model" : "workflow", (model ?? pipeline).endpoint, ownerId);
}

/** The same for what is known by its name alone. */
export function refuseEndpointOff(
  flags: Flags,
  kind: "model" | "workflow",
  endpoint: string,
  ownerId: string,
): void {
  if (!flags.isOn(kind, endpoint, ownerId))
    throw new TemperaError(
      "switched_off",
      `The ${kind} ${endpoint} is switched off on this server, ${BY_WHOM}`,
    );
}

/** Throws `switched_off` when a flag keeps a behaviour from this owner. */
export function refuseBehaviourOff(
  flags: Flags,
  behaviour: Behaviour,
  ownerId: string,
  without: string,
): void {
  if (flags.isOn("behaviour", behaviour, ownerId)) return;
  throw new TemperaError(
    "switched_off",
    `${behaviour} is switched off on this server, ${BY_WHOM} ${without}`,
  );
}

const BY_WHOM = "for everybody or for you; ask whoever runs it.";
