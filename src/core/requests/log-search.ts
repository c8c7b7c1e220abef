import type { LogLevel } from "./events.ts";

/** One line of a request's log, as it is found. */
export interface FoundLine {
  requestId: string;
  ownerId: string;
  endpoint: string;
  version: string;
  attempt: number;
  level: LogLevel;
  message: string;
  /** Within its request: `<milliseconds>-<n>`. */
  id: string;
  atMs: number;
}

/** Where a page ends: the next one begins with the line before it. */
export interface LineCursor {
  submittedAtMs: number;
  requestId: string;
  /** Place within the request, from 1. */
  line: number;
}

export interface LineQuery {
  /** When the line was written; both inclusive. */
  startMs: number;
  endMs: number;
  ownerId?: string;
  requestId?: string;
  /**
   * The endpoint itself or anything below it: `fal-ai/wan` means `fal-ai/wan/v2.2-a14b/text-to-video` too.
   */
  app?: string;
  version?: string;
  levels?: LogLevel[];
  /** Words that all stand in the line, in any order. */
  words?: string;
  limit: number;
  before?: LineCursor;
}

/** A request that has ended, with the lines it left. */
export interface LoggedRequest {
  requestId: string;
  ownerId: string;
  endpoint: string;
  version: string;
  submittedAtMs: number;
  lines: Pick<FoundLine, "attempt" | "level" | "message" | "id" | "atMs">[];
}

/**
 * The search in the log lines of requests that have ended. Lines of one request stand together: the newest
 * request first, and of each the newest line.
 *
 * Every method rejects with `store_unavailable` when what searches cannot be reached.
 */
export interface LogSearch {
  search(query: LineQuery): Promise<{ lines: FoundLine[]; next?: LineCursor }>;
  /**
   * Takes in the lines of a request that has ended; again changes nothing. They are found within a second.
   */
  index(request: LoggedRequest): Promise<void>;
  /** Takes out the lines of requests. */
  remove(requestIds: string[]): Promise<void>;
}
