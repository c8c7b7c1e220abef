import type { JobSpec } from "./job.ts";

/** A job that Temporal has closed. */
export interface ClosedJob {
  requestId: string;
  /** It produced an output. */
  ok: boolean;
  closedAtMs: number;
}

/** Reads closed jobs from Temporal. Both methods reject with `temporal_unavailable`. */
export interface ClosedJobs {
  /** Lists jobs that closed within a window, in pages of at most `pageSize`. */
  list(window: { fromMs: number; untilMs: number }, pageSize: number): AsyncIterable<ClosedJob[]>;
  /** Returns the input of a job and the time of its start; `undefined` when Temporal does not know it. */
  started(requestId: string): Promise<{ job: JobSpec; startedAtMs: number } | undefined>;
}
