import type { JobSpec } from "../requests/job.ts";
import type { Outcome } from "../requests/request.ts";

/** A request as it was started, with its outcome. */
export interface PipelineRun {
  job: JobSpec;
  /** Absent while it runs. */
  outcome?: Outcome;
}

/**
 * Reads the records of pipelines that ran. Every method rejects with `store_unavailable` when PostgreSQL
 * cannot be reached.
 */
export interface PipelineRunStore {
  find(requestId: string): Promise<PipelineRun | undefined>;
  /** Lists those of its nodes that have a record, oldest first. */
  nodes(requestId: string): Promise<PipelineRun[]>;
}
