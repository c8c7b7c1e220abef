import { asLogLine, type LoggedEvent, type RequestEvent, type Snapshot } from "./events.ts";
import type { Outcome, RequestIdentity } from "./request.ts";

/**
 * The event log has the current events of requests, for status reads, streams and callers that wait. When it
 * is lost, no result is lost.
 *
 * Every method rejects with `store_unavailable` when the log cannot be reached, and those that write with
 * `store_full` when it takes no writes.
 */
export interface EventLog {
  /**
   * Appends an event and updates the snapshot (`advance`), atomically. An event that is not legal at this
   * point (after the end, or of an abandoned attempt) is dropped silently.
   */
  append(request: RequestIdentity, event: Exclude<RequestEvent, { type: "done" }>): Promise<void>;

  /** Appends `done` unless the request has one. The first writer wins: returns the stored outcome. */
  complete(request: RequestIdentity, outcome: Outcome): Promise<Outcome>;

  /** Reads the snapshot; `undefined` when the log does not know the request. */
  snapshot(requestId: string): Promise<Snapshot | undefined>;

  /**
   * Counts the requests of the same task queue ahead of a waiting one; 0 for the next, and for other states.
   */
  position(snapshot: Snapshot): Promise<number>;

  /** Counts the requests that wait in a task queue. */
  waiting(taskQueue: string): Promise<number>;

  /** Reads the events after `afterId` (all when absent), oldest first. */
  read(requestId: string, afterId?: string): Promise<LoggedEvent[]>;

  /** Reads the outcome and the snapshot, once there is an outcome. */
  outcome(requestId: string): Promise<{ snapshot: Snapshot; outcome: Outcome } | undefined>;

  /**
   * Yields the events after `afterId`, then each new one, until `done` or until `signal` aborts. No event is
   * missed or yielded twice. Fails with `store_unavailable` or `store_full` when the log cannot be
   * reached or takes no writes any more.
   */
  follow(requestId: string, afterId: string | undefined, signal: AbortSignal): AsyncIterable<LoggedEvent>;

  /**
   * Deletes a request whose submit was not accepted. Late events of its attempts do not bring it back;
   * another submit does.
   */
  drop(request: RequestIdentity): Promise<void>;

  /** Deletes a request that may run all the same: its later events make it again, without a submit. */
  forget(request: RequestIdentity): Promise<void>;

  /**
   * Notifies every GPU worker, within milliseconds, that a request was cancelled. Temporal has the durable
   * record of it.
   */
  announceCancel(requestId: string): Promise<void>;

  /** Calls `listener` for each announced cancel. Returns how to stop. */
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
