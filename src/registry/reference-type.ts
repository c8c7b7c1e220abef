import type { JsonSchema } from "../core/models/model.ts";
import type { ParsedGraph } from "../core/pipelines/parsed-graph.ts";
import { INPUT_SOURCE, type Reference } from "../core/pipelines/references.ts";
import { typeInWords, typeWithin, type ValueType } from "./value-type.ts";

/** Cuts a caller's text to the length that an error sentence can quote. */
export function shorten(text: string): string {
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}

/** Finds the type of a reference as far as the schemas tell, or the reason why it leads nowhere. */
export type ReferenceType = (reference: Pick<Reference, "source" | "path">) => ValueType | { fault: string };

/**
 * @param outputs output schemas of the nodes that call an endpoint, by node. The output of a node that is
 * missing here, because its endpoint is unknown, can have any type
 */
export function createReferenceType(
  parsed: Pick<ParsedGraph, "nodes" | "input">,
  outputs: ReadonlyMap<string, JsonSchema>,
): ReferenceType {
  const calls = new Map(parsed.nodes.map(({ id, endpoint }) => [id, endpoint !== undefined]));

  return ({ source, path }) => {
    if (source !== INPUT_SOURCE && !calls.has(source))
      return { fault: `there is no node '${shorten(source)}'` };
    if (calls.get(source) === false)
      return { fault: `the node '${source}' shows values and has none of its own` };
    const schema = source === INPUT_SOURCE ? parsed.input : outputs.get(source);
    if (!schema) return { schema: true, root: {} };
    let type: ValueType = { schema, root: schema };
    for (const [at, part] of path.entries()) {
      const inside = typeWithin(type, part);
      if (!inside) {
        const parent =
          source === INPUT_SOURCE && at === 0
            ? "the input"
            : shorten([`$${source}`, ...path.slice(0, at)].join("."));
        const missing = typeof part === "number" ? `an item ${part}` : `a field '${shorten(part)}'`;
        return { fault: `${parent} is ${typeInWords(type)} without ${missing}` };
      }
      type = inside;
    }
    return type;
  };
}
