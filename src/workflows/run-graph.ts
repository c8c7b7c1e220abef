import type { Json, JsonObject, Stored } from "../core/json/json.ts";
import type { Graph, GraphNode } from "../core/pipelines/pipeline.ts";
import {
  INPUT_SOURCE,
  referencesOf,
  resolveReferences,
  type TemplatePath,
} from "../core/pipelines/references.ts";
import { pipelineFailure } from "./pipeline-errors.ts";
import type { PipelineNodes } from "./pipeline-nodes.ts";

/**
 * Runs a graph: each node starts as soon as the nodes that it depends on have ended, and independent nodes
 * run in parallel.
 *
 * Resolves to the graph's output. Rejects with the first failure of a node; no node starts afterwards. A
 * reference that does not resolve fails its node with `input_invalid` (422, contract §11.4).
 */
export async function runGraph(
  graph: Graph,
  input: JsonObject,
  nodes: Pick<PipelineNodes, "run" | "read" | "refuse">,
): Promise<Json> {
  const outputs = new Map<string, Promise<Stored<JsonObject>>>();
  const values = new Map<string, Promise<JsonObject>>();

  /** Reads the output of a node, once for all references to it. */
  const readOutput = async (id: string): Promise<JsonObject> => {
    const output = outputs.get(id);
    if (!output)
      throw pipelineFailure("pipeline_failed", `The node ${id} is referred to before it was started.`);
    const value =
      values.get(id) ?? output.then((stored) => nodes.read(stored, `the output of the node ${id}`));
    values.set(id, value);
    return value;
  };
  /** Reads what a template refers to, then replaces its references. */
  const resolve = async (template: Json) => {
    const sources = new Map<string, JsonObject>([[INPUT_SOURCE, input]]);
    for (const found of referencesOf(template)) {
      const source = "reference" in found ? found.reference.source : undefined;
      if (source !== undefined && !sources.has(source) && outputs.has(source))
        sources.set(source, await readOutput(source));
    }
    return resolveReferences(template, (source) => sources.get(source));
  };
  const runNode = async ({ id, endpoint, input: template, depends }: GraphNode) => {
    await Promise.all(depends.map((name) => outputs.get(name)));
    const resolved = await resolve(template);
    if ("value" in resolved) return nodes.run(endpoint, resolved.value as JsonObject, id);
    return nodes.refuse(endpoint, template, id, [unresolvedFault(resolved.unresolved, ["body"])]);
  };

  for (const node of graph.nodes) {
    const output = runNode(node);
    // Dependent nodes await this promise, and so does the end of the run: no rejection goes unhandled.
    output.catch(() => {});
    outputs.set(node.id, output);
  }
  await Promise.all(outputs.values());
  const resolved = await resolve(graph.output);
  if ("value" in resolved) return resolved.value;
  const { unresolved } = resolved;
  throw pipelineFailure("input_invalid", `The pipeline's output cannot be made: ${unresolved.why}.`, [
    unresolvedFault(unresolved, ["output"]),
  ]);
}

function unresolvedFault(
  { loc, text, why }: { loc: TemplatePath; text: string; why: string },
  base: string[],
) {
  return {
    loc: [...base, ...loc],
    msg: `The reference ${text} leads nowhere: ${why}`,
    type: "value_error",
    ctx: { reference: text },
  };
}
