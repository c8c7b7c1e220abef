/** The faults of a rerun's overrides. */
import { findNearestName } from "../../core/errors/nearest-name.ts";
import { type InputFault, TemperaError } from "../../core/errors/tempera-error.ts";
import type { JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { CallTarget } from "../../core/pipelines/pipeline.ts";
import type { Rerun } from "../../fal/index.ts";
import type { Registry } from "../../registry/registry.ts";

/** Throws `input_invalid` for nodes that the request does not have. */
export function refuseUnknown(known: ReadonlyMap<string, string>, { from, nodes }: Rerun): void {
  const names = [...known.keys()].slice(0, 20).join(", ");
  const msg = `Value error, the request has no such node${names && `; it has ${names}`}`;
  const faults: InputFault[] = Object.keys(nodes)
    .filter((node) => !known.has(node))
    .map((node) => ({ loc: ["body", "overrides", "nodes", node], msg, type: "value_error" }));
  if (from !== undefined && !known.has(from))
    faults.unshift({ loc: ["body", "from"], msg, type: "value_error" });
  if (faults.length > 0) throw faulty(faults.slice(0, LIMITS.inputFaultsMax));
}

/**
 * Throws `input_invalid` for fields that the model or pipeline of a node does not have: the change would do
 * nothing. No more of them are compared with the names that there are than are answered.
 */
export function refuseUnknownFields(
  registry: Pick<Registry, "find">,
  {
    endpoints,
    targets,
  }: { endpoints: ReadonlyMap<string, string>; targets: Readonly<Record<string, CallTarget>> },
  { nodes }: Rerun,
): void {
  const faults: InputFault[] = [];
  for (const [node, fields] of Object.entries(nodes)) {
    const endpoint = endpoints.get(node) ?? "";
    const target = Object.hasOwn(targets, endpoint) ? targets[endpoint] : undefined;
    if (!target) continue;
    const input =
      target.kind === "pipeline" ? target.input : registry.find(endpoint, target.version)?.schemas?.input;
    if (!input?.properties || (input.additionalProperties ?? false) !== false) continue;
    const properties = input.properties as JsonObject;
    const unknown = Object.keys(fields).filter((name) => !Object.hasOwn(properties, name));
    for (const name of unknown.slice(0, LIMITS.inputFaultsMax - faults.length)) {
      const nearest = findNearestName(name, Object.keys(properties));
      const remedy = nearest === undefined ? "" : `; did you mean '${nearest}'?`;
      const msg = `Value error, ${endpoint} has no such field${remedy}`;
      faults.push({ loc: ["body", "overrides", "nodes", node, name], msg, type: "value_error" });
    }
  }
  if (faults.length > 0) throw faulty(faults);
}

export const faulty = (faults: InputFault[]): TemperaError =>
  new TemperaError("input_invalid", undefined, { faults });
