/**
 * Events are what happens to a request right now. They live in the event log, which may vanish at any time:
 * no result is lost, only freshness (design §3).
 */
import type { ErrorInfo } from "../errors/tempera-error.ts";
import type { JsonObject, Stored } from "../json/json.ts";
import {
  identityOf,
  type Metrics,
  type Outcome,
  type RequestIdentity,
  type RequestState,
} from "./request.ts";

export type LogLevel = "DEBUG" | "INFO" | "WARN" | "ERROR";

export type RequestEvent =
  /**
   * Waiting for a runner: at submit (attempt 0; `streamed` when that was a stream), and again after a failed
   * attempt, with its reason.
   */
  | { type: "queued"; attempt: number; reason?: ErrorInfo; streamed?: true }
  /** A GPU worker's engine has begun attempt n (1, 2, …). */
  | { type: "started"; attempt: number; worker: string }
  | { type: "log"; attempt: number; level: LogLevel; message: string }
  /** `step` of `steps` denoising steps are done. */
  | { type: "progress"; attempt: number; step: number; steps: number; remainingMs?: number }
  /**
   * A picture of the unfinished result after `step`; `data` is base64 of at most `LIMITS.previewBytesMax`
   * bytes.
   */
  | { type: "preview"; attempt: number; step: number; contentType: string; data: string }
  /** A node of this pipeline: its request was made, or has ended. */
  | ({ type: "node"; attempt: number; node: string; endpoint: string; requestId: string } & NodeChange)
  /** Whoever streams it lost the connection and has come back. */
  | { type: "resumed"; attempt: number }
  /** The end. The first `done` of a request wins; later ones are not appended. */
  | { type: "done"; outcome: Outcome };

/** What has become of a pipeline's node. `cache` says whether its result is an earlier one. */
export type NodeChange =
  | { change: "submitted" }
  | {
      change: "completed";
      output: Stored<JsonObject>;
      cache: "hit" | "miss";
      /** Of the pipeline: nodes done, and nodes known so far. */
      nodes: { done: number; of: number };
    }
  | { change: "failed"; error: ErrorInfo };

/** Denoising steps done, and the time the rest will take if it goes on like this. */
export interface Progress {
  step: number;
  steps: number;
  remainingMs?: number;
}

/** An event as the log keeps it. `id` sorts within its request and is what `Last-Event-ID` carries. */
export interface LoggedEvent {
  id: string;
  atMs: number;
  event: RequestEvent;
}

/** What the event log knows of a request without reading its events: enough to answer a status poll. */
export interface Snapshot extends RequestIdentity {
  state: RequestState;
  attempt: number;
  queuedAtMs: number;
  startedAtMs?: number;
  endedAtMs?: number;
  progress?: Progress;
  error?: ErrorInfo;
  metrics?: Metrics;
}

/**
 * What an event changes in the snapshot. `undefined` means the event is not legal there and must be dropped:
 * nothing follows the end, and an attempt that was given up must not speak over its successor.
 */
export function advance(
  before: Pick<Snapshot, "state" | "attempt"> | undefined,
  event: RequestEvent,
  atMs: number,
): Partial<Snapshot> | undefined {
  if (before?.state === "COMPLETED") return undefined;
  if (event.type !== "done" && event.attempt < (before?.attempt ?? 0)) return undefined;
  switch (event.type) {
    case "queued":
      return { state: "IN_QUEUE", attempt: event.attempt, queuedAtMs: atMs };
    case "started":
      // What an earlier attempt had done is not done any more.
      return {
        state: "IN_PROGRESS",
        attempt: event.attempt,
        startedAtMs: atMs,
        progress: { step: 0, steps: 0 },
      };
    case "log":
    case "preview":
    case "resumed":
      return {};
    case "node":
      return event.change === "completed"
        ? { progress: { step: event.nodes.done, steps: event.nodes.of } }
        : {};
    case "progress":
      return {
        progress: {
          step: event.step,
          steps: event.steps,
          ...(event.remainingMs !== undefined && { remainingMs: event.remainingMs }),
        },
      };
    case "done":
      return {
        state: "COMPLETED",
        endedAtMs: atMs,
        metrics: event.outcome.metrics,
        ...(!event.outcome.ok && { error: event.outcome.error }),
      };
  }
}

/**
 * What is known of a request when `event` is the first that the log hears of it: its submit's `queued` as a
 * rule, anything else when the log was lost in between. An attempt that speaks is running.
 */
export function firstSnapshot(request: RequestIdentity, event: RequestEvent, atMs: number): Snapshot {
  const attempt = event.type === "done" ? 0 : event.attempt;
  return {
    ...identityOf(request),
    state: attempt > 0 ? "IN_PROGRESS" : "IN_QUEUE",
    attempt,
    queuedAtMs: atMs,
  };
}

/** What an event is in its request's log: a log line as it is, and a pipeline's node as a sentence. */
export function asLogLine({ id, atMs, event }: LoggedEvent): LoggedEvent | undefined {
  if (event.type === "log") return { id, atMs, event };
  if (event.type !== "node") return undefined;
  const line = (level: LogLevel, message: string): LoggedEvent => ({
    id,
    atMs,
    event: { type: "log", attempt: event.attempt, level, message },
  });
  switch (event.change) {
    case "submitted":
      return line("INFO", `Node ${event.node}: ${event.endpoint}, request ${event.requestId}.`);
    case "completed": {
      const earlier = event.cache === "hit" ? ", from an earlier result" : "";
      return line("INFO", `Node ${event.node} is done (${event.nodes.done} of ${event.nodes.of})${earlier}.`);
    }
    case "failed":
      return line("ERROR", `Node ${event.node} failed: ${event.error.message}`);
  }
}

/**
 * An event's id is `<milliseconds>-<n>`. Ids of one request rise; a log that was lost and began again goes on
 * above its earlier ids, so an id that a client kept across a restart still means "after this".
 */
const EVENT_ID = /^(\d{1,15})-(\d{1,15})$/;

/** The two numbers of an id, `undefined` for what is none: a `Last-Event-ID` is whatever a client sends. */
export function parseEventId(id: string): readonly [ms: number, n: number] | undefined {
  const match = EVENT_ID.exec(id);
  return match ? [Number(match[1]), Number(match[2])] : undefined;
}

/**
 * Whether `id` comes after `other`; everything comes after what is no id. `isAfter("5-10", "5-9") === true`
 */
export function isAfter(id: string, other: string | undefined): boolean {
  const b = other === undefined ? undefined : parseEventId(other);
  if (!b) return true;
  const a = parseEventId(id);
  return a !== undefined && (a[0] > b[0] || (a[0] === b[0] && a[1] > b[1]));
}
