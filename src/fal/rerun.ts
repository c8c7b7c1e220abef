/**
 * The body that runs a pipeline's request again in part, our addition to the queue:
 * `{from?, overrides?: {input?, nodes?}}`.
 */
import { type InputFault, TemperaError } from "../core/errors/tempera-error.ts";
import { isObject, type Json, type JsonObject } from "../core/json/json.ts";

export interface Rerun {
  /** The node that must run again even when its input is the same. */
  from?: string;
  /** Fields of the pipeline's input to replace. */
  input: JsonObject;
  /** By node: fields of its input to replace, whatever the pipeline passes to it. */
  nodes: Record<string, JsonObject>;
}

/**
 * Reads the body. An empty one runs the nodes again that failed or never began. Throws `input_invalid` with
 * every fault.
 */
export function readRerun(body: Json): Rerun {
  const faults: InputFault[] = [];
  const addFault = (loc: string[], msg: string, type: string): void =>
    void faults.push({ loc: ["body", ...loc], msg, type });
  const fields = (value: Json | undefined, loc: string[], known?: string[]): JsonObject => {
    if (value === undefined || value === null) return {};
    if (!isObject(value)) {
      addFault(loc, "Input should be a valid dictionary", "dict_type");
      return {};
    }
    for (const name of Object.keys(value)) {
      if (known && !known.includes(name))
        addFault(
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
    addFault(["from"], "Input should be a valid string", "string_type");
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
