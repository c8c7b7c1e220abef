import type { JobSpec } from "./job.ts";

/** A job that Temporal has closed. */
export interface ClosedJob {
  requestId: string;
  /** It gave an output. */
  ok: boolean;
  closedAtMs: number;
}

/** What Temporal knows of jobs that have closed. Both methods reject with `temporal_unavailable`. */
export interface ClosedJobs {
  /** Those that closed within a window, at most `pageSize` at a time. */
  list(window: { fromMs: number; untilMs: number }, pageSize: number): AsyncIterable<ClosedJob[]>;
  /**
   * What a job was started with, and how often it was tried at least; `undefined` when Temporal knows no such
   * job.
   */
  started(requestId: string): Promise<{ job: JobSpec; startedAtMs: number } | undefined>;
}
