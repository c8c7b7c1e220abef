import { asLogLine, type LoggedEvent, type RequestEvent, type Snapshot } from "./events.ts";
import type { Outcome, RequestIdentity } from "./request.ts";

/**
 * The event log: what happens right now, for status reads, streams and sync waiters. Losing it loses no
 * result.
 *
 * Every method rejects with `store_unavailable` when the log cannot be reached.
 */
export interface EventLog {
  /**
   * Appends an event and moves the snapshot on (`advance`), in one atomic step. Events that are not legal
   * there (after the end, or of an attempt that was given up) are dropped silently.
   */
  append(request: RequestIdentity, event: Exclude<RequestEvent, { type: "done" }>): Promise<void>;

  /** Appends `done` unless the request has one; returns the outcome that stands. First writer wins. */
  complete(request: RequestIdentity, outcome: Outcome): Promise<Outcome>;

  /** One read of the store. `undefined`: the log does not know the request. */
  snapshot(requestId: string): Promise<Snapshot | undefined>;

  /** How many requests of the same task queue are ahead of a waiting one; 0 = next. Of other requests: 0. */
  position(snapshot: Snapshot): Promise<number>;

  /** How many requests wait in a task queue. */
  waiting(taskQueue: string): Promise<number>;

  /** The events after `afterId` (all of them when absent), oldest first. */
  read(requestId: string, afterId?: string): Promise<LoggedEvent[]>;

  /** The outcome and its snapshot, once there is one. */
  outcome(requestId: string): Promise<{ snapshot: Snapshot; outcome: Outcome } | undefined>;

  /**
   * The events after `afterId`, then each new one as it comes, until `done` was given or `signal` aborts.
   * No event is missed or given twice. Ends with `store_unavailable` when the log goes away.
   */
  follow(requestId: string, afterId: string | undefined, signal: AbortSignal): AsyncIterable<LoggedEvent>;

  /** Forgets a request: its submit was not accepted after all. */
  drop(request: RequestIdentity): Promise<void>;

  /**
   * Tells every GPU worker, within milliseconds, that a request was cancelled. Temporal holds the durable
   * record.
   */
  announceCancel(requestId: string): Promise<void>;

  /** Calls `listener` for each announced cancel until the returned function is called. */
  onCancel(listener: (requestId: string) => void): Promise<() => Promise<void>>;

  close(): Promise<void>;
}

/** Reads the log lines of a request, oldest first; none while the event log is unavailable. */
export async function readLogLines(
  events: Pick<EventLog, "read">,
  requestId: string,
): Promise<LoggedEvent[]> {
  const read = await events.read(requestId).catch(() => []);
  return read.flatMap((event) => asLogLine(event) ?? []);
}
