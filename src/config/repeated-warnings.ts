import { LRUCache } from "lru-cache";
import type { Clock } from "../core/operations/clock.ts";

/** Time between two reports on one warning. */
const REPORT_EVERY_MS = 60_000;
/** Warnings that are counted at the same time; the one that was given longest ago makes room. */
const WARNINGS_MAX = 200;
/** Longest part of a text that tells one warning from another. */
const KEY_CHARACTERS_MAX = 300;

/** Names that make two warnings different ones. A request's id is none: it would make each of them new. */
const KEY_FIELDS = ["endpoint", "version", "pipeline", "taskQueue", "activityType", "state", "code"];

interface Warning {
  fields: object;
  message: string;
  /** Times it was given and not written, since `sinceMs`. */
  held: number;
  sinceMs: number;
}

export interface RepeatedWarningsOptions {
  /** Writes a line. */
  write: (fields: object, message: string) => void;
  clock: Clock;
}

/**
 * Gathers repeated warnings: one is written the first time, and each minute as long as it comes again, with
 * the number of times. Two warnings are one when their messages, reasons and errors differ in numbers and ids
 * at most, and their names and codes do not. The end of a job, whose line has an `outcome`, is always
 * written. What is held is bounded.
 */
export class RepeatedWarnings {
  readonly #options: RepeatedWarningsOptions;
  readonly #warnings: LRUCache<string, Warning>;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: RepeatedWarningsOptions) {
    this.#options = options;
    this.#warnings = new LRUCache<string, Warning>({
      max: WARNINGS_MAX,
      dispose: (warning, _, reason) => reason === "evict" && this.#report(warning),
    });
  }

  /** Writes a warning, or counts it if it was written before. */
  warn(fields: object, message: string): void {
    if ("outcome" in fields) {
      this.#options.write(fields, message);
      return;
    }
    const key = keyOf(fields, message);
    const known = this.#warnings.get(key);
    if (known) {
      known.held++;
      known.fields = fields;
      known.message = message;
      return;
    }
    this.#warnings.set(key, { fields, message, held: 0, sinceMs: this.#options.clock.nowMs() });
    this.#timer ??= setInterval(() => this.reportDue(), REPORT_EVERY_MS).unref();
    this.#options.write(fields, message);
  }

  /** Reports the warnings that came again within their minute, and forgets those that did not. */
  reportDue(): void {
    const nowMs = this.#options.clock.nowMs();
    for (const [key, warning] of [...this.#warnings.entries()]) {
      // A timer may be early, and a warning may have begun just before it.
      if (nowMs - warning.sinceMs < REPORT_EVERY_MS / 2) continue;
      if (warning.held === 0) this.#warnings.delete(key);
      else this.#report(warning);
    }
    if (this.#warnings.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Reports everything that is held, for the end of the process. */
  flush(): void {
    for (const warning of this.#warnings.values()) this.#report(warning);
  }

  #report(warning: Warning): void {
    if (warning.held === 0) return;
    const { write, clock } = this.#options;
    const { fields, message, held: times, sinceMs } = warning;
    const durationMs = Math.round(clock.nowMs() - sinceMs);
    warning.held = 0;
    warning.sinceMs += durationMs;
    write({ ...fields, times, durationMs }, `${message} (${timesText(times)} in ${timeText(durationMs)})`);
  }
}

/** Gives what two warnings must have in common to be one. */
function keyOf(fields: object, message: string): string {
  const values = fields as Record<string, unknown>;
  const { err } = values;
  const error = err as { code?: unknown; message?: unknown } | undefined;
  const names = [error?.code, ...KEY_FIELDS.map((name) => values[name])].map((name) => withoutIds(name));
  const texts = [message, typeof err === "string" ? err : error?.message, values.reason];
  return [...names, ...texts.map((text) => withoutIds(text).replaceAll(/\d+/g, "#"))].join("\n");
}

/** Replaces ids in a text, which differ from one warning to the next. */
function withoutIds(text: unknown): string {
  return String(text ?? "")
    .slice(0, KEY_CHARACTERS_MAX)
    .replaceAll(/\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/gi, "#")
    .replaceAll(/\b(?=[0-9a-f]*\d)[0-9a-f]{12,}\b/gi, "#");
}

const timesText = (times: number): string =>
  times === 1 ? "once more" : `${times.toLocaleString("en")} more times`;

const timeText = (ms: number): string =>
  ms < 120_000 ? `${Math.ceil(ms / 1000)} s` : `${Math.round(ms / 60_000)} min`;
