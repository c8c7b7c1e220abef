/**
 * A draft is a graph as somebody wrote it: read, and checked against nothing yet. Compiling makes a `Graph`
 * of it, or says all that is wrong with it.
 */
import type { InputFault } from "../errors/tempera-error.ts";
import type { Json } from "../json/json.ts";
import type { JsonSchema } from "../models/model.ts";
import type { Graph } from "./pipeline.ts";

/** Where something stands in the body that it came in: what a fault of it is located by. */
export type Location = InputFault["loc"];

export interface ParsedNode {
  id: string;
  /** The endpoint it calls; absent: it calls nothing, and only shows values (`display`). */
  endpoint?: string;
  /** What holds its references: the input of a call, the shown fields of a display. */
  value: Json;
  /** The nodes it says it waits for; may name `input`. */
  depends: string[];
  /** Of the node, and of `value`. */
  loc: Location;
  valueLoc: Location;
}

export interface ParsedGraph {
  nodes: ParsedNode[];
  /** What the pipeline answers, with references. */
  output: Json;
  outputLoc: Location;
  /** What the caller's input may be. */
  input: JsonSchema;
  /** What is said of the fields of the output: titles and descriptions, by field. */
  outputFields: Record<string, JsonSchema>;
}

/** What compiling makes of a draft. */
export interface CompiledGraph {
  graph: Graph;
  schemas: { input: JsonSchema; output: JsonSchema };
  /** Every endpoint that its nodes call. */
  calls: string[];
}
