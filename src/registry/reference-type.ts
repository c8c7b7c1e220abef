import type { GraphDraft } from "../core/pipelines/parsed-graph.ts";
import type { JsonSchema } from "../core/models/model.ts";
import { INPUT_SOURCE, type Reference } from "../core/pipelines/references.ts";
import { typeInWords, typeWithin, type ValueType } from "./value-type.ts";

/** As much of a caller's words as a sentence about them needs. */
export const briefly = (text: string): string => (text.length > 120 ? `${text.slice(0, 120)}…` : text);

/** What a reference stands for, as far as schemas tell, or why it can stand for nothing. */
export type ReferenceType = (reference: Pick<Reference, "source" | "path">) => ValueType | { fault: string };

/**
 * @param outputs what the nodes that call something give, by node; one whose endpoint is not known is missing, and open
 */
export function createReferenceType(
  draft: Pick<GraphDraft, "nodes" | "input">,
  outputs: ReadonlyMap<string, JsonSchema>,
): ReferenceType {
  const calls = new Map(draft.nodes.map(({ id, endpoint }) => [id, endpoint !== undefined]));

  return ({ source, path }) => {
    if (source !== INPUT_SOURCE && !calls.has(source))
      return { fault: `there is no node '${briefly(source)}'` };
    if (calls.get(source) === false)
      return { fault: `the node '${source}' shows values and has none of its own` };
    const schema = source === INPUT_SOURCE ? draft.input : outputs.get(source);
    if (!schema) return { schema: true, root: {} };
    let type: ValueType = { schema, root: schema };
    for (const [at, part] of path.entries()) {
      const inside = typeWithin(type, part);
      if (!inside) {
        const what =
          source === INPUT_SOURCE && at === 0
            ? "the input"
            : briefly([`$${source}`, ...path.slice(0, at)].join("."));
        return {
          fault: `${what} is ${typeInWords(type)} without ${typeof part === "number" ? `a place ${part}` : `a field '${briefly(part)}'`}`,
        };
      }
      type = inside;
    }
    return type;
  };
}
