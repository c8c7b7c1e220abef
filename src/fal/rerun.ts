/**
 * What asks for a pipeline's request to be run again in part, our addition to the queue: `{from?, overrides?:
 * {input?, nodes?}}`.
 */
import { type InputFault, TemperaError } from "../core/errors/tempera-error.ts";
import type { Json, JsonObject } from "../core/json/json.ts";

export interface Rerun {
  /** The node that must run again, though its input may be the same. */
  from?: string;
  /** Fields of the pipeline's input that are to be others. */
  input: JsonObject;
  /** By node: fields of its input that are to be others, whatever the pipeline gives it. */
  nodes: Record<string, JsonObject>;
}

/**
 * Reads the body; an empty one runs again what failed, or was never begun. Throws `input_invalid` with all
 * that is wrong.
 */
export function readRerun(body: Json): Rerun {
  const faults: InputFault[] = [];
  const fault = (loc: string[], msg: string, type: string): void =>
    void faults.push({ loc: ["body", ...loc], msg, type });
  const fields = (value: Json | undefined, loc: string[], known?: string[]): JsonObject => {
    if (value === undefined || value === null) return {};
    if (typeof value !== "object" || Array.isArray(value)) {
      fault(loc, "Input should be a valid dictionary", "dict_type");
      return {};
    }
    for (const name of Object.keys(value)) {
      if (known && !known.includes(name))
        fault(
          [...loc, name],
          `Value error, not a field of a rerun; there are ${known.join(" and ")}`,
          "extra_forbidden",
        );
    }
    return value;
  };
  const { from, overrides } = fields(body, [], ["from", "overrides"]);
  const { input, nodes } = fields(overrides, ["overrides"], ["input", "nodes"]);
  if (from !== undefined && from !== null && typeof from !== "string")
    fault(["from"], "Input should be a valid string", "string_type");
  const given = Object.entries(fields(nodes, ["overrides", "nodes"]));
  const rerun: Rerun = {
    ...(typeof from === "string" && { from }),
    input: fields(input, ["overrides", "input"]),
    nodes: Object.fromEntries(
      given.map(([node, value]) => [node, fields(value ?? undefined, ["overrides", "nodes", node])]),
    ),
  };
  if (faults.length > 0) throw new TemperaError("input_invalid", undefined, { faults });
  return rerun;
}
