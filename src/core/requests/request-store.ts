import type { LoggedEvent } from "./events.ts";
import type { JobSpec } from "./job.ts";
import type { Outcome, RequestIdentity } from "./request.ts";

/**
 * The searchable record of a request. Temporal has the truth about whether its job exists and how it ended.
 */
export interface RequestRecord extends RequestIdentity {
  keyId: string;
  submittedAtMs: number;
  startedAtMs?: number;
  endedAtMs?: number;
  attempts: number;
  outcome?: Outcome;
  /** Log lines of a finished request, oldest first. */
  logs: LoggedEvent[];
}

/** The end of a job, as it is recorded. */
export interface FinishedJob {
  job: JobSpec;
  outcome: Outcome;
  attempts: number;
  startedAtMs?: number;
  endedAtMs: number;
  logs: LoggedEvent[];
  /**
   * Present when the job used up its attempts and waits for an operator; never when a caller waited for it.
   */
  deadLetter?: { reason: string };
}

/** A failed request that waits for an operator. */
export interface DeadLetter {
  requestId: string;
  ownerId: string;
  endpoint: string;
  version: string;
  reason: string;
  attempts: number;
  createdAtMs: number;
}

export interface ActiveQuery {
  endedSinceMs: number;
  ownerId?: string;
  requestId?: string;
  /** The endpoint itself or anything below it. */
  app?: string;
  version?: string;
  limit: number;
}

/**
 * Stores the records of requests. Every method rejects with `store_unavailable` when PostgreSQL cannot be
 * reached.
 */
export interface RequestStore {
  /** Records a submitted request; an existing record is left as it is. */
  insert(job: JobSpec): Promise<void>;

  /**
   * Records the end of a job and its dead letter in one transaction, and creates the record when the submit
   * did not. The first writer wins: returns the stored outcome.
   */
  finish(finished: FinishedJob): Promise<Outcome>;

  find(requestId: string): Promise<RequestRecord | undefined>;

  /** Lists requests that are unfinished, or ended after a moment; newest first. */
  active(query: ActiveQuery): Promise<(RequestIdentity & { ended: boolean })[]>;

  /** Lists the requests of a pipeline's nodes, oldest first, at most `LIMITS.pipelineNodesMax`. */
  nodes(pipelineId: string): Promise<RequestRecord[]>;

  /** Lists dead letters, newest first. */
  deadLetters(limit: number): Promise<DeadLetter[]>;
}
