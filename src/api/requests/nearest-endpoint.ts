import type { Context } from "hono";
import { findNearestName } from "../../core/errors/nearest-name.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { pathSegments } from "../../core/models/endpoint.ts";
import { TEST_MODELS_REMEDY } from "../../core/models/test-models.ts";
import type { Scope } from "../../core/owners/key.ts";
import type { Registry } from "../../registry/registry.ts";

/** Returns an endpoint without its owner, which callers leave out or confuse. */
const withoutOwner = (endpoint: string): string => {
  const segments = pathSegments(endpoint);
  return segments.slice(segments.length > 1 ? 1 : 0).join("/");
};

/**
 * Words the end of a refusal of an unknown endpoint: the nearest one that is served, or nothing when none is
 * similar. Saved pipelines are not among them, since they are their owners'. Callers of scope ADMIN are told
 * how a test model is served.
 *
 * @example sayNearest(registry, "qwen-image") // → '; did you mean "fal-ai/qwen-image"?'
 */
export function sayNearest(registry: Registry, wanted: string, caller?: { scope?: Scope }): string {
  if (caller?.scope === "ADMIN" && registry.isWithheld?.(wanted))
    return `; it is a test model, which is served only when asked for: ${TEST_MODELS_REMEDY}`;
  const served = [...registry.list(), ...registry.pipelines()]
    .map(({ endpoint }) => endpoint)
    .filter((endpoint) => registry.route(endpoint) !== undefined);
  const byName = new Map(served.map((endpoint) => [withoutOwner(endpoint), endpoint]));
  const name = findNearestName(withoutOwner(wanted), byName.keys());
  const nearest = name === undefined ? findNearestName(wanted, served) : byName.get(name);
  return nearest === undefined ? "" : `; did you mean "${nearest}"?`;
}

/** Returns the error for a path that names no endpoint. */
export function pathUnknown(registry: Registry, c: Context, wanted: string): TemperaError {
  const nearest = sayNearest(registry, pathSegments(wanted).join("/"));
  return new TemperaError("path_unknown", `Path ${c.req.path.slice(0, 200)} not found${nearest}`);
}
