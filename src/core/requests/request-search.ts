import type { JobSpec } from "./job.ts";
import type { Outcome, RequestIdentity } from "./request.ts";

/** A request that has ended, as lists show it. */
export interface EndedRequest {
  requestId: string;
  ownerId: string;
  endpoint: string;
  submittedAtMs: number;
  /** Absent when it ended before it began. */
  startedAtMs?: number;
  endedAtMs: number;
  /** What its caller was answered. */
  statusCode: number;
  /** From the start of the attempt that ended it to its end; 0 when it never began. */
  seconds: number;
}

export interface EndedQuery {
  /** One at least. */
  endpoints: string[];
  /** Absent: of everybody. */
  ownerId?: string;
  /** Ended within [start, end). */
  startMs: number;
  endMs: number;
  status?: "success" | "error" | "user_error";
  /** Newest end first, or longest first. */
  sortBy: "ended_at" | "duration";
  /** What this names comes next: when it ended in milliseconds, or how long it took in seconds. */
  after?: { value: number; requestId: string };
  limit: number;
}

/** The input and output of a request as its record has them: values, or keys in the object store. */
export interface Payloads {
  job: JobSpec;
  outcome: Outcome;
  endedAtMs: number;
}

/**
 * What is looked for among the records of requests. Every method rejects with `store_unavailable` when
 * Postgres cannot be reached.
 */
export interface RequestSearch {
  ended(query: EndedQuery): Promise<EndedRequest[]>;
  /** One that has ended. */
  find(requestId: string): Promise<EndedRequest | undefined>;
  /** Of requests that have ended. */
  payloads(requestIds: string[]): Promise<Map<string, Payloads>>;
  /**
   * Takes input and output out of the record: what is left names bytes that are not there. False when it has
   * not ended.
   */
  erasePayloads(requestId: string): Promise<boolean>;
  /**
   * Of these artifacts (SHA-256, hex), those that the output of a request beside these or the input of an
   * unfinished one names.
   */
  namedElsewhere(sha256s: string[], requestIds: string[]): Promise<Set<string>>;
  /** Requests without an outcome, by id (oldest first), from the one after `after` on. */
  unfinished(
    of: { endpoints: string[]; ownerId?: string },
    after: string | undefined,
    limit: number,
  ): Promise<RequestIdentity[]>;
}
