/**
 * A parsed graph is a workflow definition as its author wrote it: read, and not checked yet. Compiling turns
 * it into a `Graph`, or reports all its faults.
 */
import type { InputFault } from "../errors/tempera-error.ts";
import type { Json } from "../json/json.ts";
import type { JsonSchema } from "../models/model.ts";
import type { Graph } from "./pipeline.ts";

/** The path of a value in the body of the call, by which faults are located. */
export type Location = InputFault["loc"];

export interface ParsedNode {
  id: string;
  /** The endpoint that it calls; absent: it calls nothing and only shows values (`display`). */
  endpoint?: string;
  /** The value with its references: the input of a call, or the shown fields of a display. */
  value: Json;
  /** The nodes that it declares to wait for; may name `input`. */
  depends: string[];
  /** Location of the node. */
  loc: Location;
  /** Location of `value`. */
  valueLoc: Location;
}

export interface ParsedGraph {
  nodes: ParsedNode[];
  /** The output of the pipeline, with references. */
  output: Json;
  outputLoc: Location;
  /** Schema of the caller's input. */
  input: JsonSchema;
  /** Titles and descriptions of the output, by field. */
  outputFields: Record<string, JsonSchema>;
}

/** The result of compiling a parsed graph. */
export interface CompiledGraph {
  graph: Graph;
  schemas: { input: JsonSchema; output: JsonSchema };
  /** Every endpoint that its nodes call. */
  calls: string[];
}
