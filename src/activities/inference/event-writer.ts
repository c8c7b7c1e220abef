import { LIMITS } from "../../core/limits.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import type { RequestEvent } from "../../core/requests/events.ts";
import type { RequestIdentity } from "../../core/requests/request.ts";

/** An event of an attempt. The outcome, `done`, is written by the finish step. */
type AttemptEvent = Exclude<RequestEvent, { type: "done" }>;

/**
 * Writes the events of one attempt to the event log, in order. The event log shows progress and no results
 * depend on it, so it must never slow a job down: after a failed append, the queued events are dropped,
 * except the last one about the request's state.
 */
export class EventWriter {
  readonly #log: EventLog;
  readonly #request: RequestIdentity;
  readonly #warn: (message: string) => void;
  #queue: AttemptEvent[] = [];
  #sending: Promise<void> | undefined;
  #lines = 0;

  constructor(log: EventLog, request: RequestIdentity, warn: (message: string) => void) {
    this.#log = log;
    this.#request = request;
    this.#warn = warn;
  }

  /** At least one log line was written. */
  get logged(): boolean {
    return this.#lines > 0;
  }

  /** Appends an event without waiting. A newer progress event replaces one that is still queued. */
  write(event: AttemptEvent): void {
    if (event.type === "log" && ++this.#lines > LIMITS.logLinesMax) return;
    if (event.type === "progress" && this.#queue.at(-1)?.type === "progress") this.#queue.pop();
    this.#queue.push(event.type === "log" ? { ...event, message: logLine(event.message) } : event);
    this.#flush();
  }

  /** Resolves when every event written so far is appended or dropped. */
  async drained(): Promise<void> {
    while (this.#sending) await this.#sending;
  }

  /**
   * Resolves when every event written so far is on its way: later commands of this process come after it.
   */
  async sent(): Promise<void> {
    if (this.#queue.length > 0) await this.drained();
  }

  #flush(): void {
    // An event that is written between the end of `#send` and this callback would otherwise wait for the
    // next.
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined;
      if (this.#queue.length > 0) this.#flush();
    });
  }

  async #send(): Promise<void> {
    while (this.#queue.length > 0) {
      // Appends are pipelined: the log keeps the order of the calls.
      const batch = this.#queue;
      this.#queue = [];
      const results = await Promise.allSettled(batch.map((event) => this.#log.append(this.#request, event)));
      const failed = results.find((result) => result.status === "rejected");
      if (!failed) continue;
      this.#warn(`event log: ${String(failed.reason)}`);
      this.#queue = this.#queue.filter(({ type }) => type === "queued" || type === "started").slice(-1);
      if (this.#queue.length === 0) return;
    }
  }
}

/**
 * Returns an engine's line as stores and clients can hold it: well-formed, without NUL, at most
 * `LIMITS.logLineBytesMax` bytes.
 */
function logLine(message: string): string {
  const text = message.slice(0, LIMITS.logLineBytesMax).toWellFormed().replaceAll("\u0000", "\ufffd");
  const bytes = Buffer.from(text);
  if (bytes.length <= LIMITS.logLineBytesMax) return text;
  // A character that was cut decodes as replacement characters at the end.
  return bytes
    .subarray(0, LIMITS.logLineBytesMax)
    .toString("utf8")
    .replace(/\ufffd+$/, "");
}
