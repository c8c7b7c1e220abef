/**
 * An event is a change of a running request. Events are in the event log, which may be lost at any time: no
 * result is lost with it, only current information (design §3).
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
   * The request waits for a runner: after the submit (attempt 0; `streamed` when a stream submitted it), and
   * after a failed attempt, with the reason.
   */
  | { type: "queued"; attempt: number; reason?: ErrorInfo; streamed?: true }
  /** A GPU worker's engine has begun attempt n (1, 2, …). */
  | { type: "started"; attempt: number; worker: string }
  | { type: "log"; attempt: number; level: LogLevel; message: string }
  /** `step` of `steps` denoising steps are done. */
  | { type: "progress"; attempt: number; step: number; steps: number; remainingMs?: number }
  /**
   * An image of the unfinished result after `step`; `data` is base64 of at most `LIMITS.previewBytesMax`
   * bytes.
   */
  | { type: "preview"; attempt: number; step: number; contentType: string; data: string }
  /** The request of a node of this pipeline was submitted, or has ended. */
  | ({ type: "node"; attempt: number; node: string; endpoint: string; requestId: string } & NodeChange)
  /** The caller that streams it lost the connection and has reconnected. */
  | { type: "resumed"; attempt: number }
  /** The request has ended. The first `done` of a request wins; later ones are not appended. */
  | { type: "done"; outcome: Outcome };

/** A change of a pipeline's node. `cache` is `hit` when its result is a reused one. */
export type NodeChange =
  | { change: "submitted" }
  | {
      change: "completed";
      output: Stored<JsonObject>;
      cache: "hit" | "miss";
      /** Finished and known nodes of the pipeline. */
      nodes: { done: number; of: number };
    }
  | { change: "failed"; error: ErrorInfo };

/** Finished denoising steps, and the estimated time of the remaining ones. */
export interface Progress {
  step: number;
  steps: number;
  remainingMs?: number;
}

/** An event in the log. Its `id` sorts within the request and is the value of `Last-Event-ID`. */
export interface LoggedEvent {
  id: string;
  atMs: number;
  event: RequestEvent;
}

/** A snapshot is the current state of a request in the event log: enough to answer a status poll. */
export interface Snapshot extends RequestIdentity {
  state: RequestState;
  attempt: number;
  queuedAtMs: number;
  startedAtMs?: number;
  endedAtMs?: number;
  progress?: Progress;
  error?: ErrorInfo;
  metrics?: Metrics;
  /**
   * Present while the request may have ended all the same, since the log may lack events of it. The state is
   * confirmed by the other stores once for each value.
   */
  doubt?: string;
}

/** Tells whether an event is the one of a submit, so that a log that begins with it is whole. */
export function isSubmit(event: RequestEvent): boolean {
  return event.type === "queued" && event.attempt === 0;
}

/**
 * Returns the changes of the snapshot by an event. `undefined` means that the event is not legal at this
 * point and must be dropped: nothing follows the end, and an abandoned attempt must not overwrite its
 * successor.
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
      // A new attempt begins from the first step.
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
 * Makes the snapshot of a request whose first event in the log is `event`: usually `queued` of its submit,
 * any other one when the log was lost in between. An attempt that sends events is running.
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

/** Converts an event to a log line: a log event is one, and a change of a node becomes a sentence. */
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
      const reused = event.cache === "hit" ? ", from an earlier result" : "";
      return line("INFO", `Node ${event.node} is done (${event.nodes.done} of ${event.nodes.of})${reused}.`);
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

/**
 * Parses an id into its two numbers; `undefined` for anything else that a client sends as `Last-Event-ID`.
 */
export function parseEventId(id: string): readonly [ms: number, n: number] | undefined {
  const match = EVENT_ID.exec(id);
  return match ? [Number(match[1]), Number(match[2])] : undefined;
}

/**
 * Tells whether `id` comes after `other`; every id comes after an invalid one. `isAfter("5-10", "5-9") ===
 * true`
 */
export function isAfter(id: string, other: string | undefined): boolean {
  const b = other === undefined ? undefined : parseEventId(other);
  if (!b) return true;
  const a = parseEventId(id);
  return a !== undefined && (a[0] > b[0] || (a[0] === b[0] && a[1] > b[1]));
}
