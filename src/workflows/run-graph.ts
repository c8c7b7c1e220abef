import type { Json, JsonObject, Stored } from "../core/json/json.ts";
import type { Graph } from "../core/pipelines/pipeline.ts";
import {
  INPUT_SOURCE,
  referencesOf,
  resolveReferences,
  type TemplateLoc,
} from "../core/pipelines/references.ts";
import { pipelineFault } from "./pipeline-errors.ts";
import type { PipelineNodes } from "./pipeline-nodes.ts";

/**
 * Runs a graph: each node as soon as everything it waits for is there, side by side where nothing stands
 * between them.
 *
 * Resolves to its output. Rejects with the first node's failure, also when a reference of its input leads
 * nowhere (`input_invalid`, 422, contract §11.4), and then no node is begun any more.
 */
export async function runGraph(graph: Graph, input: JsonObject, nodes: PipelineNodes): Promise<Json> {
  const outputs = new Map<string, Promise<Stored<JsonObject>>>();
  const looked = new Map<string, Promise<JsonObject>>();

  /** What a node gave, read once however many look into it. */
  const look = async (id: string): Promise<JsonObject> => {
    const output = outputs.get(id);
    if (!output) throw pipelineFault("pipeline_failed", `The node ${id} is referred to before it is there.`);
    const known =
      looked.get(id) ?? output.then((stored) => nodes.look(stored, `the output of the node ${id}`));
    looked.set(id, known);
    return known;
  };
  /** The values of everything that a template refers to, then the template with them. */
  const resolve = async (template: Json) => {
    const values = new Map<string, JsonObject>([[INPUT_SOURCE, input]]);
    for (const found of referencesOf(template)) {
      const source = "reference" in found ? found.reference.source : undefined;
      if (source !== undefined && !values.has(source) && outputs.has(source))
        values.set(source, await look(source));
    }
    return resolveReferences(template, (source) => values.get(source));
  };

  for (const { id, endpoint, input: template, depends } of graph.nodes) {
    const before = depends.map((name) => outputs.get(name));
    const output = (async () => {
      await Promise.all(before);
      const resolved = await resolve(template);
      if ("value" in resolved) return nodes.run(endpoint, resolved.value as JsonObject, id);
      return nodes.refuse(endpoint, template, id, [unresolved(resolved.unresolved, ["body"])]);
    })();
    // Whoever waits for it is told; at the end everybody does.
    output.catch(() => {});
    outputs.set(id, output);
  }
  await Promise.all(outputs.values());
  const resolved = await resolve(graph.output);
  if ("value" in resolved) return resolved.value;
  throw pipelineFault("input_invalid", `The pipeline's output cannot be made: ${resolved.unresolved.why}.`, [
    unresolved(resolved.unresolved, ["output"]),
  ]);
}

const unresolved = ({ loc, text, why }: { loc: TemplateLoc; text: string; why: string }, at: string[]) => ({
  loc: [...at, ...loc],
  msg: `The reference ${text} leads nowhere: ${why}`,
  type: "value_error",
  ctx: { reference: text },
});
