import type { NodeResultStore } from "./node-result-store.ts";
import type { PipelineRunStore } from "./pipeline-run-store.ts";
import type { PipelineStore } from "./pipeline-store.ts";

/** The durable stores of pipelines. */
export interface PipelineStores {
  /** Results of nodes, for reuse by later nodes with the same key. */
  nodeResults: NodeResultStore;
  /** Pipelines that ran, each with the records of its nodes. */
  pipelineRuns: PipelineRunStore;
  /** Saved pipelines and their versions. */
  pipelines: PipelineStore;
}
