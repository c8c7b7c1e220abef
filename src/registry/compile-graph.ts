/**
 * Makes a graph of a draft, or names all that is wrong with it: names that nothing has, references that lead
 * nowhere, values that can never go where they are sent, inputs that nothing feeds, circles. What cannot be
 * known before a run is left to the run.
 */
import type { InputFault } from "../core/errors/tempera-error.ts";
import type { CompiledGraph, DraftNode, GraphDraft, Location } from "../core/pipelines/parsed-graph.ts";
import type { Json, JsonObject } from "../core/json/json.ts";
import type { JsonSchema } from "../core/models/model.ts";
import type { GraphNode } from "../core/pipelines/pipeline.ts";
import { INPUT_SOURCE, referencesOf } from "../core/pipelines/references.ts";
import { graphOutputSchema } from "./graph-output.ts";
import { createNodeInputCheck, type NodeInputCheck } from "./node-input.ts";
import { nodeOrder } from "./node-order.ts";
import { briefly, createReferenceType } from "./reference-type.ts";

/** What an endpoint takes and gives. */
export interface Callable {
  input: JsonSchema;
  output: JsonSchema;
}

/** What a node's endpoint is, or why this definition cannot call it. */
export type FindCallable = (endpoint: string) => Callable | { fault: string };

export type CompileGraph = (
  draft: GraphDraft,
  find: FindCallable,
) => CompiledGraph | { faults: InputFault[] };

export function createCompileGraph(): CompileGraph {
  const checkInput = createNodeInputCheck();
  return (draft, find) => compile(draft, find, checkInput);
}

function compile(
  draft: GraphDraft,
  find: FindCallable,
  checkInput: NodeInputCheck,
): CompiledGraph | { faults: InputFault[] } {
  const faults: InputFault[] = [];
  const wrong = (loc: Location, msg: string): void =>
    void faults.push({ loc, msg: `Value error, ${msg}`, type: "value_error" });

  const nodes = new Map(draft.nodes.map((node) => [node.id, node]));
  const callables = new Map<string, Callable>();
  for (const { id, endpoint, loc } of draft.nodes) {
    if (endpoint === undefined) continue;
    const found = find(endpoint);
    if ("fault" in found) wrong([...loc, "app"], found.fault);
    else callables.set(id, found);
  }

  const typeOf = createReferenceType(draft, new Map([...callables].map(([id, { output }]) => [id, output])));
  const waitsFor = new Map(
    draft.nodes.map((node) => [
      node.id,
      new Set([...declared(node), ...referred(node.value, node.valueLoc)]),
    ]),
  );
  referred(draft.output, draft.outputLoc);
  for (const [id, { input }] of callables)
    faults.push(...checkInput(nodes.get(id) as DraftNode, input, typeOf));

  const ordered = nodeOrder(waitsFor);
  if ("cycles" in ordered) {
    for (const [first = "", ...others] of ordered.cycles) {
      const round = [first, ...others, first].map((id) => `'${id}'`).join(" waits for ");
      wrong([...(nodes.get(first)?.loc ?? []), "depends"], `the nodes wait for one another: ${round}`);
    }
  }
  if (faults.length > 0 || "cycles" in ordered) return { faults };

  const graphNodes = ordered.order.flatMap((id): GraphNode[] => {
    const { endpoint, value } = nodes.get(id) ?? {};
    return endpoint === undefined
      ? []
      : [{ id, endpoint, input: value as JsonObject, depends: callsBefore(id, waitsFor, callables) }];
  });
  return {
    graph: { nodes: graphNodes, output: draft.output },
    schemas: { input: draft.input, output: graphOutputSchema(draft, typeOf) },
    calls: [...new Set(graphNodes.map(({ endpoint }) => endpoint))],
  };

  /** The nodes that a node says it waits for. */
  function declared({ depends, loc }: DraftNode): string[] {
    return [...depends.entries()].flatMap(([at, id]) => {
      if (nodes.has(id)) return [id];
      if (id !== INPUT_SOURCE) wrong([...loc, "depends", at], `there is no node '${briefly(id)}'`);
      return [];
    });
  }

  /** The nodes that a template refers to; says what leads nowhere. */
  function referred(template: Json, within: Location): string[] {
    return referencesOf(template).flatMap((found) => {
      const loc = [...within, ...found.loc];
      if ("fault" in found) {
        wrong(loc, found.fault);
        return [];
      }
      const type = typeOf(found.reference);
      if ("fault" in type) wrong(loc, `'${briefly(found.text)}' leads nowhere: ${type.fault}`);
      return nodes.has(found.reference.source) ? [found.reference.source] : [];
    });
  }
}

/**
 * The calls that must have ended before a node: those it waits for, and what the displays among them wait
 * for. There are no circles.
 */
function callsBefore(
  id: string,
  waitsFor: ReadonlyMap<string, ReadonlySet<string>>,
  callables: ReadonlyMap<string, Callable>,
): string[] {
  // Grows while it is walked; each node is looked at once.
  const ahead = new Set(waitsFor.get(id) ?? []);
  for (const each of ahead)
    if (!callables.has(each)) for (const further of waitsFor.get(each) ?? []) ahead.add(further);
  return [...ahead].filter((each) => callables.has(each));
}
