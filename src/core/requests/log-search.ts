import type { LogLevel } from "./events.ts";

/** A line of a request's log that a search found. */
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

/** The end of a page; the next page begins with the line before it. */
export interface LineCursor {
  submittedAtMs: number;
  requestId: string;
  /** Number of the line within the request, from 1. */
  line: number;
}

export interface LineQuery {
  /** Time of the line; both bounds are inclusive. */
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
  /** Words that the line contains, in any order. */
  words?: string;
  limit: number;
  before?: LineCursor;
}

/** An ended request with its log lines. */
export interface LoggedRequest {
  requestId: string;
  ownerId: string;
  endpoint: string;
  version: string;
  submittedAtMs: number;
  lines: Pick<FoundLine, "attempt" | "level" | "message" | "id" | "atMs">[];
}

/**
 * Searches the log lines of ended requests. Results are grouped by request: the newest request first, and of
 * each request the newest line first.
 *
 * Every method rejects with `store_unavailable` when the search service cannot be reached, and those that
 * change something with `store_full` when it takes no writes.
 */
export interface LogSearch {
  search(query: LineQuery): Promise<{ lines: FoundLine[]; next?: LineCursor }>;
  /** Indexes the lines of an ended request; they are found within a second. Repeating it changes nothing. */
  index(request: LoggedRequest): Promise<void>;
  /** Removes the lines of requests. */
  remove(requestIds: string[]): Promise<void>;
}
