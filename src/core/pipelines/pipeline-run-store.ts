import type { JobSpec } from "../requests/job.ts";
import type { Outcome } from "../requests/request.ts";

/** A request as it was started, and how it ended. */
export interface PipelineRun {
  job: JobSpec;
  /** Absent while it runs. */
  outcome?: Outcome;
}

/**
 * What is on record of pipelines that ran. Every method rejects with `store_unavailable` when Postgres cannot
 * be reached.
 */
export interface PipelineRunStore {
  find(requestId: string): Promise<PipelineRun | undefined>;
  /** Those of its nodes that have a record, oldest first. */
  nodes(requestId: string): Promise<PipelineRun[]>;
}
