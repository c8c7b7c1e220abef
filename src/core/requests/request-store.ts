import type { LoggedEvent } from "./events.ts";
import type { JobSpec } from "./job.ts";
import type { Outcome, RequestIdentity } from "./request.ts";

/**
 * The searchable record of a request. A projection: Temporal owns whether the job exists and how it ended.
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

export interface FinishedJob {
  job: JobSpec;
  outcome: Outcome;
  attempts: number;
  startedAtMs?: number;
  endedAtMs: number;
  logs: LoggedEvent[];
  /**
   * Present when the job used up its attempts and waits for a person; never for one that a caller waited for.
   */
  deadLetter?: { reason: string };
}

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

/** Every method rejects with `store_unavailable` when Postgres cannot be reached. */
export interface RequestStore {
  /** Records a submitted request; one that is already there is left as it is. */
  insert(job: JobSpec): Promise<void>;

  /**
   * Records how a job ended, creating the row when the submit's own insert never came, and its dead letter,
   * in one transaction. First writer wins: returns the outcome that stands.
   */
  finish(finished: FinishedJob): Promise<Outcome>;

  find(requestId: string): Promise<RequestRecord | undefined>;

  /** Requests that have not ended, or not before a moment; the newest first. */
  active(query: ActiveQuery): Promise<(RequestIdentity & { ended: boolean })[]>;

  /** The requests of a pipeline's nodes, oldest first: at most `LIMITS.pipelineNodesMax`. */
  nodes(pipelineId: string): Promise<RequestRecord[]>;

  /** Newest first. */
  deadLetters(limit: number): Promise<DeadLetter[]>;
}
