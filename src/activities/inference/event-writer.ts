import type { RequestEvent } from "../../core/requests/events.ts";
import { LIMITS } from "../../core/limits.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import type { Outcome, RequestIdentity } from "../../core/requests/request.ts";

export interface EventWriter {
  /**
   * Appends in order, without waiting. Progress that a newer one overtakes before it was sent is left out.
   */
  write(event: Exclude<RequestEvent, { type: "done" }>): void;
  /** Everything written so far is appended or given up. */
  drained(): Promise<void>;
  /**
   * Appends `done` after everything else; returns the outcome that stands (this one when the log cannot be
   * reached).
   */
  complete(outcome: Outcome): Promise<Outcome>;
  /** Whether any log line was written. */
  readonly logged: boolean;
  /** Whether the log has taken `done`. */
  readonly announced: boolean;
}

/**
 * Writes the events of one attempt in order. The event log carries freshness, not results, so it must never
 * slow a job down: after a failed append what waits is dropped, except the last word about the state.
 */
export function createEventWriter(
  events: EventLog,
  request: RequestIdentity,
  warn: (message: string) => void,
): EventWriter {
  let waiting: Exclude<RequestEvent, { type: "done" }>[] = [];
  let sending: Promise<void> | undefined;
  let lines = 0;
  let announced = false;

  const send = async (): Promise<void> => {
    while (waiting.length > 0) {
      // Appends are pipelined: the log keeps the order in which they were given.
      const batch = waiting;
      waiting = [];
      const results = await Promise.allSettled(batch.map((event) => events.append(request, event)));
      const failed = results.find((result) => result.status === "rejected");
      if (failed) {
        warn(`event log: ${String(failed.reason)}`);
        waiting = waiting.filter(({ type }) => type === "queued" || type === "started").slice(-1);
        if (waiting.length === 0) return;
      }
    }
  };
  // What is written between the end of `send` and this callback would otherwise wait for the next write.
  const flush = (): void => {
    sending ??= send().finally(() => {
      sending = undefined;
      if (waiting.length > 0) flush();
    });
  };
  const drained = async (): Promise<void> => {
    while (sending) await sending;
  };
  return {
    write(event) {
      if (event.type === "log" && ++lines > LIMITS.logLinesMax) return;
      if (event.type === "progress" && waiting.at(-1)?.type === "progress") waiting.pop();
      waiting.push(event.type === "log" ? { ...event, message: logLine(event.message) } : event);
      flush();
    },
    drained,
    async complete(outcome) {
      // What was sent is ahead of it in the pipeline already; only what waits must go first.
      if (waiting.length > 0) await drained();
      try {
        const standing = await events.complete(request, outcome);
        announced = true;
        return standing;
      } catch (error) {
        warn(`event log: ${String(error)}`);
        return outcome;
      }
    },
    get logged() {
      return lines > 0;
    },
    get announced() {
      return announced;
    },
  };
}

/**
 * An engine's line as stores and clients can hold it: well-formed, without NUL, at most
 * `LIMITS.logLineBytesMax` bytes.
 */
function logLine(message: string): string {
  const text = message.slice(0, LIMITS.logLineBytesMax).toWellFormed().replaceAll("\u0000", "\ufffd");
  const bytes = Buffer.from(text);
  if (bytes.length <= LIMITS.logLineBytesMax) return text;
  // A character that was cut through decodes as replacement characters at the end.
  return bytes
    .subarray(0, LIMITS.logLineBytesMax)
    .toString("utf8")
    .replace(/\ufffd+$/, "");
}
