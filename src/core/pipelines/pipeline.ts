/**
 * A pipeline is several model calls joined into one workflow; a node is one call of it, and a request of its
 * own. A pipeline is either TypeScript (`src/workflows/pipelines/`) or a graph, which is what a fal workflow
 * definition is compiled to. Imported by workflow code: types and pure functions only.
 */
import type { Json, JsonObject, Stored } from "../json/json.ts";
import type { JsonSchema, ModelTimeouts, Price, RetryPolicy } from "../models/model.ts";

/** One node of a graph. Strings of its input that begin with `$` are references (contract §11.4). */
export interface GraphNode {
  id: string;
  /** The endpoint it calls: a model's or another pipeline's. */
  endpoint: string;
  input: JsonObject;
  /** The nodes it waits for: declared and referenced ones, without `input`. */
  depends: string[];
}

/** A checked definition: its nodes in an order in which each comes after those it waits for. */
export interface Graph {
  nodes: GraphNode[];
  /** What the pipeline answers, with references. */
  output: Json;
}

/**
 * The task queue in the identity of a pipeline: a word for its records, since its workflow waits for no GPU.
 */
export const PIPELINE_QUEUE = "pipelines";

/** A pipeline that can be called: the counterpart of a model version. */
export interface PipelineVersion {
  endpoint: string;
  version: string;
  /** sha256 over everything that decides what it does, hex. */
  digest: string;
  title: string;
  description: string;
  category: string;
  schemas: { input: JsonSchema; output: JsonSchema };
  /** Every endpoint that its nodes may call. */
  calls: string[];
  plan: PipelinePlan;
  /** Who may call it; absent: everybody. */
  ownerId?: string;
}

/** What a pipeline's workflow does: code of the table of pipelines, by `id@version`, or a graph. */
export type PipelinePlan = { code: string } | { graph: Graph };

/**
 * What a node may call, as it was when the pipeline was submitted: it finishes on these versions, whatever is
 * published meanwhile.
 */
export type CallTarget =
  | {
      kind: "model";
      endpoint: string;
      version: string;
      digest: string;
      taskQueue: string;
      price?: Price;
      retry: RetryPolicy;
      timeouts: Pick<ModelTimeouts, "heartbeatMs" | "runMs">;
    }
  | {
      kind: "pipeline";
      endpoint: string;
      version: string;
      digest: string;
      plan: PipelinePlan;
      /** What a node's input is checked against before its workflow is started. */
      input: JsonSchema;
    };

/**
 * The result of a node of an earlier run, for a run that need not make it again. It stands for the same call
 * with the same input only.
 */
export interface ReusedNode {
  requestId: string;
  endpoint: string;
  version: string;
  /** Of the input that the workflow made for it (`inputHash`). */
  inputHash: string;
  output: Stored<JsonObject>;
}

/** What the job of a pipeline carries beyond that of a model (`JobSpec`). */
export interface PipelinePart {
  plan: Stored<PipelinePlan>;
  /** By endpoint; those of pipelines that are called by pipelines are here too. */
  callees: Stored<Record<string, CallTarget>>;
  /** How many pipelines are around this one: 0 for one that a caller submitted. */
  depth: number;
  /** When it must have ended, nodes included. */
  deadlineMs: number;
  /** False: the caller wants every node to run (`X-Tempera-Cache: off`). */
  cache: boolean;
  /** Results of an earlier run that may be kept, by node. */
  kept?: Stored<Record<string, ReusedNode>>;
  /**
   * Where those results lie, when `kept` itself is put away: the record names them, so that none is deleted
   * meanwhile.
   */
  keptRefs?: string[];
  /** Inputs of single nodes to be changed, by node; merged over what the pipeline would give them. */
  overrides?: Record<string, JsonObject>;
  /** The node that must run again, whatever is kept. */
  from?: string;
  /**
   * Of one that a node called: `inputHash` of what the node was given. Its job has that input checked and
   * completed.
   */
  givenHash?: string;
}

/** Where a node's request belongs. */
export interface NodeRef {
  /** The pipeline's request. */
  pipelineId: string;
  /** The node's name within it. */
  id: string;
}
