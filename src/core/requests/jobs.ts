import type { NodeRef } from "../pipelines/pipeline.ts";
import type { JobSpec } from "./job.ts";
import type { Outcome, RequestIdentity, RequestState } from "./request.ts";

/** What Temporal knows of a job: the answer when neither event log nor Postgres has one. */
export interface JobDescription extends RequestIdentity {
  state: RequestState;
  attempt: number;
  submittedAtMs: number;
  endedAtMs?: number;
}

/** The jobs: Temporal owns whether one exists, whether it runs, and how it ended. */
export interface Jobs {
  /**
   * Resolves when Temporal has accepted the job (starting one twice is no error). Rejects with
   * `temporal_unavailable`.
   */
  start(job: JobSpec): Promise<void>;
  /**
   * Asks a job to stop. `finished`: it had ended; `unknown`: there is none. Rejects with
   * `temporal_unavailable`.
   *
   * @param node where the request is a pipeline's node: its pipeline is asked, and goes by what its code makes of the failure
   */
  cancel(requestId: string, node?: NodeRef): Promise<"requested" | "finished" | "unknown">;
  /**
   * Tells a job that waits for one of its owner's places that it has one; false when it has ended or is
   * unknown. Rejects with `temporal_unavailable`.
   */
  grantSlot(requestId: string): Promise<boolean>;
  describe(requestId: string): Promise<JobDescription | undefined>;
  /** Where a node stands whose pipeline still runs. `undefined`: it does not run. */
  describeNode(
    requestId: string,
    node: NodeRef,
  ): Promise<Pick<JobDescription, "state" | "attempt"> | undefined>;
  /** The outcome of a job that has closed, `undefined` while it runs or when it is unknown. */
  outcome(requestId: string): Promise<Outcome | undefined>;
  /**
   * Deletes what Temporal keeps of a job that has closed, its delivery's included; unknown and running ones
   * are left as they are.
   */
  forget(requestId: string): Promise<void>;
}
