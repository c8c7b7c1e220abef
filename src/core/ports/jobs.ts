import type { JobSpec } from "../job.ts";
import type { Outcome, RequestIdentity, RequestState } from "../request.ts";

/** What Temporal knows of a job: the answer when neither event log nor Postgres has one. */
export interface JobDescription extends RequestIdentity {
  state: RequestState;
  attempt: number;
  submittedAtMs: number;
  endedAtMs?: number;
}

/** The jobs: Temporal owns whether one exists, whether it runs, and how it ended. */
export interface Jobs {
  /** Resolves when Temporal has accepted the job (starting one twice is no error). Rejects with `temporal_unavailable`. */
  start(job: JobSpec): Promise<void>;
  /** Asks a job to stop. `finished`: it had ended; `unknown`: there is none. Rejects with `temporal_unavailable`. */
  cancel(requestId: string): Promise<"requested" | "finished" | "unknown">;
  describe(requestId: string): Promise<JobDescription | undefined>;
  /** The outcome of a job that has closed, `undefined` while it runs or when it is unknown. */
  outcome(requestId: string): Promise<Outcome | undefined>;
  /** Deletes what Temporal keeps of a job that has closed, its delivery's included; unknown and running ones are left as they are. */
  forget(requestId: string): Promise<void>;
}
