/**
 * A pipeline joins several model calls into one workflow. A node is one of these calls, and a request of its
 * own. A pipeline is either TypeScript (`src/workflows/pipelines/`), or a graph, compiled from a fal workflow
 * definition. Workflow code imports this: types and pure functions only.
 *
 * This folder has pipelines, graphs and their references, saved pipelines, and the reuse of node results.
 */
import type { Json, JsonObject, Stored } from "../json/json.ts";
import type { JsonSchema, ModelTimeouts, Price, RetryPolicy } from "../models/model.ts";

/** One node of a graph. Strings in its input that begin with `$` are references (contract §11.4). */
export interface GraphNode {
  id: string;
  /** The endpoint that it calls: a model's or another pipeline's. */
  endpoint: string;
  input: JsonObject;
  /** The nodes that it waits for: declared and referenced ones, without `input`. */
  depends: string[];
}

/** A checked definition. Each node comes after those that it waits for. */
export interface Graph {
  nodes: GraphNode[];
  /** The output of the pipeline, with references. */
  output: Json;
}

/** The task queue in a pipeline's records. It is only a name, because a pipeline itself waits for no GPU. */
export const PIPELINE_QUEUE = "pipelines";

/** A pipeline that can be called: the counterpart of a model version. */
export interface PipelineVersion {
  endpoint: string;
  version: string;
  /** SHA-256 over everything that decides its behaviour, hex. */
  digest: string;
  title: string;
  description: string;
  category: string;
  schemas: { input: JsonSchema; output: JsonSchema };
  /** Every endpoint that its nodes may call. */
  calls: string[];
  plan: PipelinePlan;
  /** The only owner that may call it; absent: everybody may. */
  ownerId?: string;
}

/** The program of a pipeline: code from the table of pipelines, by `id@version`, or a graph. */
export type PipelinePlan = { code: string } | { graph: Graph };

/**
 * A call target is a version that nodes of a pipeline may call. Targets are fixed when the pipeline is
 * submitted: it finishes on these versions, whatever is published meanwhile.
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
      /** Schema that a node's input is checked against before its workflow is started. */
      input: JsonSchema;
    };

/**
 * A reused node is the result of a node of an earlier run, for a run that need not make it again. It is used
 * only for the same call with the same input.
 */
export interface ReusedNode {
  requestId: string;
  endpoint: string;
  version: string;
  /** `inputHash` of the input that the workflow made for it. */
  inputHash: string;
  output: Stored<JsonObject>;
}

/**
 * The part of a job (`JobSpec`) that only pipelines have. Its field names are recorded in workflow
 * histories.
 */
export interface PipelinePart {
  plan: Stored<PipelinePlan>;
  /** Call targets by endpoint, also those of pipelines that this one calls. */
  callees: Stored<Record<string, CallTarget>>;
  /** Number of pipelines that this one is nested in: 0 for one that a caller submitted. */
  depth: number;
  /** Deadline of the whole pipeline. */
  deadlineMs: number;
  /** False when the caller wants every node to run (`X-Tempera-Cache: off`). */
  cache: boolean;
  /**
   * For a pipeline called by a node: that node has a concurrency slot of an owner whose slots are limited,
   * and so the nodes of this pipeline take slots.
   */
  slots?: true;
  /** Results of an earlier run that may be reused, by node. */
  kept?: Stored<Record<string, ReusedNode>>;
  /**
   * Keys of those results, when `kept` itself is stored as an object: the record names them, so that none is
   * deleted meanwhile.
   */
  keptRefs?: string[];
  /** Changes of the inputs of single nodes, by node; merged over the inputs that the pipeline makes. */
  overrides?: Record<string, JsonObject>;
  /** The key of the same changes, when they are too large to be a part of the job. */
  overridesRef?: string;
  /** The node that must run again, whatever could be reused. */
  from?: string;
  /**
   * For a pipeline called by a node: `inputHash` of the node's input, before it was checked and completed.
   */
  givenHash?: string;
}

/** A reference to a node: its pipeline's request, and its name there. */
export interface NodeRef {
  /** Request id of the pipeline. */
  pipelineId: string;
  /** Name of the node within it. */
  id: string;
}
