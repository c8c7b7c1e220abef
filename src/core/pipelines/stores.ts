import type { NodeResults } from "./node-result-store.ts";
import type { PipelineRuns } from "./pipeline-run-store.ts";
import type { PipelineStore } from "./pipeline-store.ts";

/** The durable stores of pipelines. */
export interface PipelineStores {
  /** Results of nodes, for reuse by later nodes with the same key. */
  nodeResults: NodeResults;
  /** Pipelines that ran, each with the records of its nodes. */
  pipelineRuns: PipelineRuns;
  /** Saved pipelines and their versions. */
  pipelines: PipelineStore;
}
