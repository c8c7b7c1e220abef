/**
 * Makes a graph of a draft, or names all that is wrong with it: names that nothing has, references that lead nowhere, values that
 * can never go where they are sent, inputs that nothing feeds, circles. What cannot be known before a run is left to the run.
 */
import type { InputFault } from "../core/errors/tempera-error.ts";
import type { CompiledGraph, DraftNode, GraphDraft, Location } from "../core/graph-draft.ts";
import { isObject, type Json, type JsonObject } from "../core/json.ts";
import { LIMITS } from "../core/limits.ts";
import type { JsonSchema } from "../core/model.ts";
import type { GraphNode } from "../core/pipeline.ts";
import { plainSchema } from "../core/plain-schema.ts";
import { type FoundReference, INPUT_SOURCE, type Reference, referencesOf } from "../core/references.ts";
import { nodeOrder } from "./node-order.ts";
import { createSchemaCheck, type SchemaCheck } from "./schema-check.ts";
import { canFeed, typeInWords, typeOfValue, typeWithin, type ValueType } from "./value-type.ts";

/** What an endpoint takes and gives. */
export interface Callable {
  input: JsonSchema;
  output: JsonSchema;
}

/** What a node's endpoint is, or why this definition cannot call it. */
export type FindCallable = (endpoint: string) => Callable | { fault: string };

export type CompileGraph = (draft: GraphDraft, find: FindCallable) => CompiledGraph | { faults: InputFault[] };

/** Checks of written-out values are kept from one definition to the next: each costs milliseconds to make. */
export function createCompileGraph(): CompileGraph {
  const checks = new WeakMap<JsonSchema, SchemaCheck>();
  const literalCheck = (schema: JsonSchema): SchemaCheck => {
    const known = checks.get(schema);
    if (known) return known;
    const { type, properties, $defs, definitions, components } = schema;
    const parts = Object.entries({ type, properties, $defs, definitions, components }).filter(([, part]) => part !== undefined);
    const check = createSchemaCheck(Object.fromEntries(parts) as JsonSchema, { every: true });
    checks.set(schema, check);
    return check;
  };
  return (draft, find) => compile(draft, find, literalCheck);
}

/** A node that calls something, and what that is. */
interface Callee {
  node: DraftNode & { endpoint: string };
  callable: Callable;
}

function compile(
  draft: GraphDraft,
  find: FindCallable,
  literalCheck: (schema: JsonSchema) => SchemaCheck,
): CompiledGraph | { faults: InputFault[] } {
  const faults: InputFault[] = [];
  const wrong = (loc: Location, msg: string, type = "value_error"): void =>
    void faults.push({ loc, msg: type === "value_error" ? `Value error, ${msg}` : msg, type });

  const nodes = new Map(draft.nodes.map((node) => [node.id, node]));
  const callees = new Map<string, Callee>();
  for (const node of draft.nodes) {
    if (node.endpoint === undefined) continue;
    const found = find(node.endpoint);
    if ("fault" in found) wrong([...node.loc, "app"], found.fault);
    else callees.set(node.id, { node: node as Callee["node"], callable: found });
  }

  const waitsFor = new Map<string, Set<string>>();
  for (const node of draft.nodes) {
    const depends = new Set<string>();
    for (const [at, id] of node.depends.entries()) {
      if (id === INPUT_SOURCE) continue;
      if (nodes.has(id)) depends.add(id);
      else wrong([...node.loc, "depends", at], `there is no node '${id.slice(0, 80)}'`);
    }
    for (const found of referencesOf(node.value)) {
      const source = checkReference(found, node.valueLoc);
      if (source !== undefined) depends.add(source);
    }
    waitsFor.set(node.id, depends);
  }
  for (const found of referencesOf(draft.output)) checkReference(found, draft.outputLoc);

  for (const { node, callable } of callees.values()) checkInput(node, callable);
  const ordered = nodeOrder(waitsFor);
  if ("cycles" in ordered) {
    for (const [first = "", ...others] of ordered.cycles) {
      const node = nodes.get(first);
      const round = [first, ...others, first].map((id) => `'${id}'`).join(" waits for ");
      wrong([...(node?.loc ?? []), "depends"], `the nodes wait for one another: ${round}`);
    }
  }
  if (faults.length > 0 || "cycles" in ordered) return { faults: faults.slice(0, LIMITS.inputFaultsMax) };

  const graphNodes = ordered.order.flatMap((id): GraphNode[] => {
    const { node } = callees.get(id) ?? {};
    return node ? [{ id, endpoint: node.endpoint, input: node.value as JsonObject, depends: [...callsBefore(id)] }] : [];
  });
  return {
    graph: { nodes: graphNodes, output: draft.output },
    schemas: { input: draft.input, output: outputSchema() },
    calls: [...new Set(graphNodes.map(({ endpoint }) => endpoint))],
  };

  /** The node that a reference stands for, if it stands for one. */
  function checkReference(found: FoundReference, within: Location): string | undefined {
    const loc = [...within, ...found.loc];
    if ("fault" in found) {
      wrong(loc, found.fault);
      return undefined;
    }
    const { reference } = found;
    const known = reference.source === INPUT_SOURCE || nodes.has(reference.source);
    if (!known) {
      wrong(loc, `${quoted(found.text)} leads nowhere: there is no node '${reference.source}'`);
      return undefined;
    }
    const type = typeOfReference(reference);
    if ("fault" in type) wrong(loc, `${quoted(found.text)} leads nowhere: ${type.fault}`);
    return reference.source === INPUT_SOURCE ? undefined : reference.source;
  }

  /** What a reference stands for, as far as schemas tell. */
  function typeOfReference({ source, path }: Pick<Reference, "source" | "path">): ValueType | { fault: string } {
    const schema = source === INPUT_SOURCE ? draft.input : callees.get(source)?.callable.output;
    if (!schema) {
      const shows = nodes.get(source)?.endpoint === undefined;
      return shows ? { fault: `the node '${source}' shows values and has none of its own` } : { schema: true, root: {} };
    }
    let type: ValueType = { schema, root: schema };
    for (const [at, part] of path.entries()) {
      const inside = typeWithin(type, part);
      if (!inside) {
        const walked = ["", ...path.slice(0, at)].join(".");
        const what = source === INPUT_SOURCE && at === 0 ? "the input" : `$${source}${walked}`;
        return { fault: `${what} is ${typeInWords(type)} without ${typeof part === "number" ? `a place ${part}` : `a field '${part}'`}` };
      }
      type = inside;
    }
    return type;
  }

  /** The input of a node against the schema of what it calls. */
  function checkInput(node: DraftNode, { input: schema }: Callable): void {
    if (!isObject(node.value)) return;
    const { properties = {}, required = [] } = schema as { properties?: JsonObject; required?: string[] };
    for (const name of required) {
      if (!Object.hasOwn(node.value, name)) wrong([...node.valueLoc, name], "Field required", "missing");
    }
    const literals: JsonObject = {};
    for (const [name, value] of Object.entries(node.value)) {
      // Models set aside what they do not know.
      if (!Object.hasOwn(properties, name)) continue;
      if (referencesOf(value).length === 0) literals[name] = structuredClone(value);
      else checkTemplate(value, { schema: properties[name] as Json, root: schema }, [...node.valueLoc, name]);
    }
    if (Object.keys(literals).length === 0) return;
    for (const fault of literalCheck(schema)(literals) ?? []) faults.push({ ...fault, loc: [...node.valueLoc, ...fault.loc.slice(1)] });
  }

  /** A value with references in it against what its place takes. */
  function checkTemplate(value: Json, target: ValueType, loc: Location): void {
    const [reference] = typeof value === "string" ? referencesOf(value) : [];
    if (reference) {
      // Whatever is wrong with the reference itself was said.
      const type = "reference" in reference ? typeOfReference(reference.reference) : { fault: "" };
      if ("fault" in type || canFeed(type, target)) return;
      const better = betterReference(reference.text, type, target);
      const advice = better ? `; ${quoted(better)} would fit` : "";
      wrong(loc, `${quoted(reference.text)} is ${typeInWords(type)}, and here belongs ${typeInWords(target)}${advice}`);
    } else if (!canFeed(typeOfValue(value), target)) {
      wrong(loc, `this is ${typeInWords(typeOfValue(value))}, and here belongs ${typeInWords(target)}`);
    } else if (typeof value === "object" && value !== null) {
      const parts: [string | number, Json][] = Array.isArray(value) ? value.map((item, at) => [at, item]) : Object.entries(value);
      for (const [part, inner] of parts) {
        const inside = typeWithin(target, part);
        if (inside) checkTemplate(inner, inside, [...loc, part]);
      }
    }
  }

  /** The calls that must have ended before a node: those it waits for, and what the displays among them wait for. */
  function callsBefore(id: string): Set<string> {
    const calls = new Set<string>();
    const ahead = [...(waitsFor.get(id) ?? [])];
    // Grows while it is walked; there are no circles any more, and each display is looked at once.
    const seen = new Set(ahead);
    for (const each of ahead) {
      if (callees.has(each)) calls.add(each);
      else
        for (const further of waitsFor.get(each) ?? []) {
          if (!seen.has(further)) ahead.push(further);
          seen.add(further);
        }
    }
    return calls;
  }

  function outputSchema(): JsonSchema {
    const budget = { left: LIMITS.pipelineOutputPartsMax };
    const schemaOf = (value: Json, depth: number): JsonSchema => {
      const [reference] = typeof value === "string" ? referencesOf(value) : [];
      const type = reference && "reference" in reference ? typeOfReference(reference.reference) : undefined;
      if (type) return "fault" in type ? {} : plainSchema(type.schema, type.root, budget);
      budget.left -= 1;
      if (budget.left < 0) return {};
      if (!isObject(value) || depth > 8) return typeOfValue(value).schema as JsonSchema;
      const fields = Object.entries(value);
      return {
        type: "object",
        required: fields.map(([name]) => name),
        "x-fal-order-properties": fields.map(([name]) => name),
        properties: Object.fromEntries(
          fields.map(([name, field]) => [name, { ...schemaOf(field, depth + 1), ...(depth === 0 && wordsOf(name)) }]),
        ),
      };
    };
    return schemaOf(draft.output, 0);
  }

  /** What the definition itself says of a field of its output. Its types are those of what feeds them. */
  function wordsOf(name: string): JsonSchema {
    const { title, description } = Object.hasOwn(draft.outputFields, name) ? (draft.outputFields[name] ?? {}) : {};
    return { ...(title !== undefined && { title }), ...(description !== undefined && { description }) };
  }
}

/** A longer reference that would fit: people send the file where its address belongs. */
function betterReference(text: string, type: ValueType, target: ValueType): string | undefined {
  for (const path of [["url"], [0], [0, "url"]]) {
    let at: ValueType | undefined = type;
    for (const part of path) at = at && typeWithin(at, part);
    if (at && at.schema !== true && canFeed(at, target)) return [text, ...path].join(".");
  }
  return undefined;
}

const quoted = (text: string): string => `'${text.length > 120 ? `${text.slice(0, 120)}…` : text}'`;
