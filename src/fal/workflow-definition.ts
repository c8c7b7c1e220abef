/**
 * Parses fal's workflow definitions (contract §11.2, §11.3) into graphs: the map of nodes that comes with
 * `workflows/execute`, and the `contents` of a saved workflow. The compiler checks whether the parts of a
 * graph fit one another.
 */

import type { InputFault } from "../core/errors/tempera-error.ts";
import { writeJson } from "../core/json/exact-json.ts";
import { isObject, type Json, type JsonObject } from "../core/json/json.ts";
import type { SchemaBudget } from "../core/json/plain-schema.ts";
import { LIMITS } from "../core/limits.ts";
import { isEndpointId, pathSegments } from "../core/models/endpoint.ts";
import type { JsonSchema } from "../core/models/model.ts";
import type { Location, ParsedGraph, ParsedNode } from "../core/pipelines/parsed-graph.ts";
import { INPUT_SOURCE, isNodeName } from "../core/pipelines/references.ts";
import { workflowSchema } from "./workflow-schema.ts";

/**
 * The types of nodes: `run` and `model` call an endpoint, `display` and `output` show values, `input` is the
 * caller's.
 */
const KINDS: ReadonlyMap<Json | undefined, "run" | "display" | "input"> = new Map([
  ["run", "run"],
  ["model", "run"],
  ["display", "display"],
  ["output", "display"],
  ["input", "input"],
]);

export type ReadDefinition = ParsedGraph | { faults: InputFault[] };

/** Reads the `contents` of a saved workflow. Without `output`, its display nodes' fields are its output. */
export function readContents(raw: Json | undefined, loc: Location): ReadDefinition {
  if (!isObject(raw)) return { faults: [notObject(raw, loc)] };
  const faults: InputFault[] = [];
  const { nodes, defaults } = readNodes(raw.nodes, [...loc, "nodes"], faults);
  const schema = isObject(raw.schema) ? raw.schema : {};
  const { output, outputLoc } = readOutput(raw.output, [...loc, "output"], nodes, faults);
  const input = readInputSchema(schema.input, [...loc, "schema", "input"], faults);
  if (faults.length > 0) return { faults };
  const { properties = {} } = workflowSchema(schema.output, schemaBudget()) as {
    properties?: Record<string, JsonSchema>;
  };
  return { nodes, output, outputLoc, input: withDefaults(input, defaults), outputFields: properties };
}

/**
 * Reads the body of `workflows/execute`: `{input, workflow}`, where `workflow` is the map of nodes, or
 * contents as they are saved. The schema of its input is made from the input itself.
 */
export function readExecution(
  body: Json,
): { input: JsonObject; parsed: ParsedGraph } | { faults: InputFault[] } {
  if (!isObject(body)) return { faults: [notObject(body, ["body"])] };
  const { input = {}, workflow } = body;
  if (!isObject(input)) return { faults: [notObject(input, ["body", "input"])] };
  const loc: Location = ["body", "workflow"];
  const whole = isObject(workflow) && isObject(workflow.nodes) && typeof workflow.nodes.type !== "string";
  const read = whole ? readContents(workflow, loc) : readNodeMap(workflow, loc);
  if ("faults" in read) return read;
  const given = { ...defaultsOf(read.input), ...input };
  return { input: given, parsed: { ...read, input: shapeOf(given) } };
}

/** Reads the schema of the input. Its size is bounded: compiling a large one into a check takes seconds. */
function readInputSchema(raw: Json | undefined, loc: Location, faults: InputFault[]): JsonSchema {
  const budget = schemaBudget();
  const schema = workflowSchema(raw, budget);
  const excess =
    budget.left < 0
      ? `${LIMITS.pipelineSchemaPartsMax} fields and parts of fields`
      : budget.entriesLeft < 0
        ? `${LIMITS.pipelineSchemaEntriesMax} names and values in required, enum, const and default`
        : undefined;
  if (excess) {
    const msg = `Value error, the input has more than ${excess}`;
    faults.push({ loc, msg, type: "value_error" });
  }
  return schema;
}

const schemaBudget = (): SchemaBudget => ({
  left: LIMITS.pipelineSchemaPartsMax,
  entriesLeft: LIMITS.pipelineSchemaEntriesMax,
});

function readNodeMap(raw: Json | undefined, loc: Location): ReadDefinition {
  const faults: InputFault[] = [];
  const { nodes, defaults } = readNodes(raw, loc, faults);
  const { output, outputLoc } = readOutput(undefined, loc, nodes, faults);
  if (faults.length > 0) return { faults };
  return {
    nodes,
    output,
    outputLoc,
    input: withDefaults(readInputSchema(undefined, loc, faults), defaults),
    outputFields: {},
  };
}

function readNodes(
  raw: Json | undefined,
  loc: Location,
  faults: InputFault[],
): { nodes: ParsedNode[]; defaults: JsonObject } {
  const nodes: ParsedNode[] = [];
  let defaults: JsonObject = {};
  if (!isObject(raw)) {
    faults.push(notObject(raw, loc));
    return { nodes, defaults };
  }
  const entries = Object.entries(raw);
  // Counted before any node is read, so that ten thousand nodes are refused as fast as one.
  const count = entries.reduce((sum, [, node]) => sum + (isObject(node) && node.type === "input" ? 0 : 1), 0);
  if (count > LIMITS.pipelineNodesMax) {
    const msg =
      `Value error, the workflow has ${count.toLocaleString("en-US")} nodes, ` +
      `more than the ${LIMITS.pipelineNodesMax} that one may have; ` +
      "split it into workflows that call one another";
    faults.push({ loc, msg, type: "value_error" });
    return { nodes, defaults };
  }
  for (const [id, node] of entries) {
    const at = [...loc, id];
    if (!isObject(node)) {
      faults.push(notObject(node, at));
      continue;
    }
    const kind = KINDS.get(node.type);
    if (kind === "input") {
      // An input node holds the defaults of fields that the caller leaves out.
      if (isObject(node.input)) defaults = { ...defaults, ...node.input };
      continue;
    }
    const read = readNode(id, kind, node, at, faults);
    if (read) nodes.push(read);
  }
  if (!nodes.some(({ endpoint }) => endpoint !== undefined) && faults.length === 0) {
    faults.push({
      loc,
      msg: "Value error, the workflow has no node that calls a model",
      type: "value_error",
    });
  }
  return { nodes, defaults };
}

function readNode(
  id: string,
  kind: "run" | "display" | undefined,
  node: JsonObject,
  loc: Location,
  faults: InputFault[],
): ParsedNode | undefined {
  const before = faults.length;
  const addFault = (field: Location, msg: string, type = "value_error"): void =>
    void faults.push({ loc: [...loc, ...field], msg, type });
  const fault = nodeNameFault(id);
  if (fault) addFault([], `Value error, ${fault}`);
  if (node.id !== undefined && node.id !== id)
    addFault(["id"], `Value error, the id should be the node's name in the map, ${quoted(id)}`);
  if (!kind) {
    const actual = node.type === undefined ? "it has none" : `it is ${quoted(node.type)}`;
    addFault(["type"], `Value error, a node's type should be 'run' or 'display'; ${actual}`);
    return undefined;
  }
  const depends = readDepends(node.depends, addFault);
  if (kind === "display") {
    const { fields = {} } = node;
    if (!isObject(fields) && !Array.isArray(fields))
      addFault(["fields"], "Input should be a valid dictionary or list of references", "dict_type");
    return faults.length > before
      ? undefined
      : { id, value: fields, depends, loc, valueLoc: [...loc, "fields"] };
  }
  const { app, input = {} } = node;
  const endpoint = typeof app === "string" ? pathSegments(app).join("/") : "";
  if (app === undefined) addFault(["app"], "Field required", "missing");
  else if (!isEndpointId(endpoint))
    addFault(["app"], `Value error, ${quoted(app)} cannot be the id of an endpoint`);
  if (!isObject(input)) addFault(["input"], "Input should be a valid dictionary", "dict_type");
  return faults.length > before
    ? undefined
    : { id, endpoint, value: input, depends, loc, valueLoc: [...loc, "input"] };
}

function readDepends(
  raw: Json | undefined,
  addFault: (field: Location, msg: string, type?: string) => void,
): string[] {
  if (raw === undefined || raw === null) return [];
  if (!Array.isArray(raw)) {
    addFault(["depends"], "Input should be a valid list", "list_type");
    return [];
  }
  return raw.flatMap((id, at) => {
    if (typeof id === "string") return [id];
    addFault(["depends", at], "Input should be a valid string", "string_type");
    return [];
  });
}

/** Describes why references could not name a node; `undefined` when they can. */
function nodeNameFault(id: string): string | undefined {
  if (id === INPUT_SOURCE) return `'${INPUT_SOURCE}' is the name of the caller's input; a node needs another`;
  if (id.length > LIMITS.nodeIdCharactersMax)
    return `a node's name has at most ${LIMITS.nodeIdCharactersMax} characters`;
  if (isNodeName(id) && id !== "__proto__") return undefined;
  return (
    `${quoted(id)} cannot be the name of a node: ` +
    "use letters and digits of any script, '_' and '-', and do not begin with '-'"
  );
}

/** Reads a definition's `output`; without one, the fields of all display nodes are its output. */
function readOutput(
  raw: Json | undefined,
  loc: Location,
  nodes: ParsedNode[],
  faults: InputFault[],
): { output: Json; outputLoc: Location } {
  if (raw !== undefined && !isObject(raw)) faults.push(notObject(raw, loc));
  if (isObject(raw) && Object.keys(raw).length > 0) return { output: raw, outputLoc: loc };
  const output: JsonObject = {};
  for (const { id, endpoint, value, valueLoc } of nodes) {
    if (endpoint !== undefined) continue;
    // The items of a list have no names, so the node's name is used.
    const fields = isObject(value) ? value : { [id]: value };
    for (const [name, field] of Object.entries(fields)) {
      if (Object.hasOwn(output, name)) {
        faults.push({
          loc: [...valueLoc, name],
          msg: `Value error, another display node shows ${quoted(name)} too`,
          type: "value_error",
        });
      }
      Object.defineProperty(output, name, {
        value: field,
        enumerable: true,
        configurable: true,
        writable: true,
      });
    }
  }
  if (Object.keys(output).length === 0 && faults.length === 0) {
    faults.push({
      loc,
      msg: "Value error, the workflow has no output: give it an `output`, or a display node with fields",
      type: "value_error",
    });
  }
  return { output, outputLoc: loc };
}

/** Adds defaults for the fields whose schema has none. */
function withDefaults(schema: JsonSchema, defaults: JsonObject): JsonSchema {
  const names = Object.keys(defaults).filter((name) => name !== "__proto__");
  if (names.length === 0) return schema;
  const properties: JsonObject = { ...(schema.properties as JsonObject | undefined) };
  for (const name of names) {
    const known = isObject(properties[name]) ? properties[name] : {};
    properties[name] = { default: defaults[name] as Json, ...known };
  }
  const required = ((schema.required ?? []) as string[]).filter((name) => !Object.hasOwn(defaults, name));
  return { ...schema, properties, required };
}

function defaultsOf({ properties = {} }: JsonSchema): JsonObject {
  const defaults: JsonObject = {};
  for (const [name, schema] of Object.entries(properties as JsonObject)) {
    if (isObject(schema) && schema.default !== undefined) defaults[name] = schema.default;
  }
  return defaults;
}

/** Derives a schema from a value: its types and its fields, without the items of lists. */
function shapeOf(value: Json): JsonSchema {
  if (value === null) return { type: "null" };
  if (Array.isArray(value)) return { type: "array" };
  if (typeof value === "bigint") return { type: "integer" };
  if (typeof value === "number") return { type: Number.isInteger(value) ? "integer" : "number" };
  if (typeof value !== "object") return { type: typeof value };
  const properties = Object.fromEntries(Object.entries(value).map(([name, field]) => [name, shapeOf(field)]));
  return { type: "object", properties, additionalProperties: false };
}

const notObject = (value: Json | undefined, loc: Location): InputFault =>
  value === undefined
    ? { loc, msg: "Field required", type: "missing" }
    : { loc, msg: "Input should be a valid dictionary", type: "dict_type" };

const quoted = (value: Json): string =>
  `'${(typeof value === "string" ? value : writeJson(value)).slice(0, 80)}'`;
