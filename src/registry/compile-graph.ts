/**
 * Compiles a parsed graph, or names all its faults: unknown endpoints, references that lead nowhere, values
 * that can never fit their target, inputs without a source, cycles. What cannot be known before a run is
 * checked by the run.
 */
import type { InputFault } from "../core/errors/tempera-error.ts";
import type { Json, JsonObject } from "../core/json/json.ts";
import type { JsonSchema } from "../core/models/model.ts";
import type { CompiledGraph, Location, ParsedGraph, ParsedNode } from "../core/pipelines/parsed-graph.ts";
import type { GraphNode } from "../core/pipelines/pipeline.ts";
import { INPUT_SOURCE, referencesOf } from "../core/pipelines/references.ts";
import { graphOutputSchema } from "./graph-output.ts";
import { createNodeInputCheck, type NodeInputCheck, type NodeTarget } from "./node-input.ts";
import { nodeOrder } from "./node-order.ts";
import { createReferenceType, type ReferenceType, shorten } from "./reference-type.ts";
import type { SchemaThread } from "./schema-thread/schema-thread.ts";

/** The input and output schemas of an endpoint. */
export interface Callable extends NodeTarget {
  output: JsonSchema;
}

/** Finds a node's endpoint, or the reason why this definition cannot call it. */
export type FindCallable = (endpoint: string) => Callable | { fault: string };

export type CompileGraph = (
  parsed: ParsedGraph,
  find: FindCallable,
) => Promise<CompiledGraph | { faults: InputFault[] }>;

export function createCompileGraph(schemaThread: Pick<SchemaThread, "checkLiterals">): CompileGraph {
  const checkInput = createNodeInputCheck(schemaThread);
  return (parsed, find) => compile(parsed, find, checkInput);
}

type AddFault = (loc: Location, msg: string) => void;

/** The parts of a graph that its steps of compilation share. */
interface Context {
  nodes: ReadonlyMap<string, ParsedNode>;
  typeOf: ReferenceType;
  addFault: AddFault;
}

async function compile(
  parsed: ParsedGraph,
  find: FindCallable,
  checkInput: NodeInputCheck,
): Promise<CompiledGraph | { faults: InputFault[] }> {
  const faults: InputFault[] = [];
  const addFault: AddFault = (loc, msg) =>
    void faults.push({ loc, msg: `Value error, ${msg}`, type: "value_error" });
  const nodes = new Map(parsed.nodes.map((node) => [node.id, node]));
  const callables = findCallables(parsed, find, addFault);
  const outputs = new Map([...callables].map(([id, { output }]) => [id, output]));
  const typeOf = createReferenceType(parsed, outputs);
  const context: Context = { nodes, typeOf, addFault };

  const waitsFor = new Map(
    parsed.nodes.map((node) => [
      node.id,
      new Set([...declaredSources(node, context), ...referencedNodes(node.value, node.valueLoc, context)]),
    ]),
  );
  referencedNodes(parsed.output, parsed.outputLoc, context);
  for (const [id, callable] of callables)
    faults.push(...(await checkInput(nodes.get(id) as ParsedNode, callable, typeOf)));

  const ordered = nodeOrder(waitsFor);
  if ("cycles" in ordered) addCycleFaults(ordered.cycles, context);
  if (faults.length > 0 || "cycles" in ordered) return { faults };

  const graphNodes = ordered.order.flatMap((id): GraphNode[] => {
    const { endpoint, value } = nodes.get(id) ?? {};
    return endpoint === undefined
      ? []
      : [{ id, endpoint, input: value as JsonObject, depends: callsBefore(id, waitsFor, callables) }];
  });
  return {
    graph: { nodes: graphNodes, output: parsed.output },
    schemas: { input: parsed.input, output: graphOutputSchema(parsed, typeOf) },
    calls: [...new Set(graphNodes.map(({ endpoint }) => endpoint))],
  };
}

/** Finds the endpoint of each node that calls one, by node. */
function findCallables(parsed: ParsedGraph, find: FindCallable, addFault: AddFault): Map<string, Callable> {
  const callables = new Map<string, Callable>();
  for (const { id, endpoint, loc } of parsed.nodes) {
    if (endpoint === undefined) continue;
    const found = find(endpoint);
    if ("fault" in found) addFault([...loc, "app"], found.fault);
    else callables.set(id, found);
  }
  return callables;
}

/** Lists the nodes that a node names in `depends`. */
function declaredSources({ depends, loc }: ParsedNode, { nodes, addFault }: Context): string[] {
  return [...depends.entries()].flatMap(([at, id]) => {
    if (nodes.has(id)) return [id];
    if (id !== INPUT_SOURCE) addFault([...loc, "depends", at], `there is no node '${shorten(id)}'`);
    return [];
  });
}

/** Lists the nodes that a template refers to. Adds a fault for each one that leads nowhere. */
function referencedNodes(template: Json, within: Location, { nodes, typeOf, addFault }: Context): string[] {
  return referencesOf(template).flatMap((found) => {
    const loc = [...within, ...found.loc];
    if ("fault" in found) {
      addFault(loc, found.fault);
      return [];
    }
    const type = typeOf(found.reference);
    if ("fault" in type) addFault(loc, `'${shorten(found.text)}' leads nowhere: ${type.fault}`);
    return nodes.has(found.reference.source) ? [found.reference.source] : [];
  });
}

function addCycleFaults(cycles: readonly string[][], { nodes, addFault }: Context): void {
  for (const [first = "", ...others] of cycles) {
    const cycle = [first, ...others, first].map((id) => `'${id}'`).join(" waits for ");
    addFault([...(nodes.get(first)?.loc ?? []), "depends"], `the nodes wait for one another: ${cycle}`);
  }
}

/**
 * Lists the calls that must have ended before a node begins: those it waits for, and those that the displays
 * among them wait for. There are no cycles here.
 */
function callsBefore(
  id: string,
  waitsFor: ReadonlyMap<string, ReadonlySet<string>>,
  callables: ReadonlyMap<string, Callable>,
): string[] {
  // The set grows while it is walked; each node is visited once.
  const ahead = new Set(waitsFor.get(id) ?? []);
  for (const each of ahead)
    if (!callables.has(each)) for (const further of waitsFor.get(each) ?? []) ahead.add(further);
  return [...ahead].filter((each) => callables.has(each));
}
