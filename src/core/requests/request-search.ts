import type { JobSpec } from "./job.ts";
import type { Outcome, RequestIdentity } from "./request.ts";

/** An ended request in a list. */
export interface EndedRequest {
  requestId: string;
  ownerId: string;
  endpoint: string;
  submittedAtMs: number;
  /** Absent when it ended before it started. */
  startedAtMs?: number;
  endedAtMs: number;
  /** HTTP status of the response that its caller got. */
  statusCode: number;
  /** Duration of its last attempt; 0 when it never started. */
  seconds: number;
}

export interface EndedQuery {
  /** At least one. */
  endpoints: string[];
  /** Absent: requests of all owners. */
  ownerId?: string;
  /** Time of the end, within [start, end). */
  startMs: number;
  endMs: number;
  status?: "success" | "error" | "user_error";
  /** By end, newest first, or by duration, longest first. */
  sortBy: "ended_at" | "duration";
  /** Cursor: the page continues after this request. `value` is its end in ms, or its duration in s. */
  after?: { value: number; requestId: string };
  limit: number;
}

/** The input and output in the record of a request: values, or keys of objects. */
export interface Payloads {
  job: JobSpec;
  outcome: Outcome;
  endedAtMs: number;
}

/**
 * Searches the records of requests. Every method rejects with `store_unavailable` when PostgreSQL cannot be
 * reached.
 */
export interface RequestSearch {
  ended(query: EndedQuery): Promise<EndedRequest[]>;
  /** Finds an ended request. */
  find(requestId: string): Promise<EndedRequest | undefined>;
  /** Reads the payloads of ended requests. */
  payloads(requestIds: string[]): Promise<Map<string, Payloads>>;
  /** Replaces input and output in the record by tombstones. False when the request has not ended. */
  erasePayloads(requestId: string): Promise<boolean>;
  /**
   * Returns those of the artifacts (the hash in their address, hex) that the output of any other request
   * names, or the input of an unfinished one.
   */
  namedElsewhere(sha256s: string[], requestIds: string[]): Promise<Set<string>>;
  /** Lists requests without an outcome by id (oldest first), those after `after`. */
  unfinished(
    of: { endpoints: string[]; ownerId?: string },
    after: string | undefined,
    limit: number,
  ): Promise<RequestIdentity[]>;
}
