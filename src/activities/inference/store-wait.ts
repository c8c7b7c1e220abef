import { sleep } from "../../core/concurrency/sleep.ts";
import { isStoreFailure, stateOfStore } from "../../core/errors/store-failure.ts";
import type { TemperaError } from "../../core/errors/tempera-error.ts";
import { type Clock, steadyClock } from "../../core/operations/clock.ts";

/** Pauses before a store is tried again: each is twice as long as the one before, up to the longest. */
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;

/** Returns the pause after so many others, in milliseconds. */
export function storePauseMs(pauses: number): number {
  return Math.min(FIRST_PAUSE_MS * 2 ** Math.min(pauses, 10), LONGEST_PAUSE_MS);
}

export interface StoreWaitOptions {
  /**
   * Longest time that the results of this attempt wait for a store, in milliseconds. It counts from the first
   * failure, and calls that hang are part of it.
   */
  retryMs: number;
  /** Moment after which nothing is tried again, by `steady`. */
  untilMs: number;
  /** @default the time since the process started */
  steady?: Clock;
  /** Ends the waiting; its reason is what `retry` rejects with. */
  signal: AbortSignal;
  /** Receives one line when the waiting begins, and when another store or fault is the reason for it. */
  tell: (line: string, error: TemperaError) => void;
}

/**
 * The patience of one attempt with stores that fail: what the engine has made is kept, and stored when the
 * store is well again, so that no inference is repeated for it.
 */
export class StoreWait {
  readonly #options: StoreWaitOptions;
  readonly #steady: Clock;
  #notified: string | undefined;
  #waitedMs = 0;

  constructor(options: StoreWaitOptions) {
    this.#options = options;
    this.#steady = options.steady ?? steadyClock;
  }

  /** The time that this attempt has waited for stores, in milliseconds. */
  get waitedMs(): number {
    return this.#waitedMs;
  }

  /** Does `work`, and again while a store fails, until the time is used up. Then its error is thrown. */
  async retry<T>(work: () => Promise<T>): Promise<T> {
    const spentMs = this.#waitedMs;
    let failedAtMs: number | undefined;
    for (let pauses = 0; ; pauses++) {
      try {
        return await work();
      } catch (error) {
        const { retryMs, untilMs } = this.#options;
        const nowMs = this.#steady.nowMs();
        failedAtMs ??= nowMs;
        const leftMs = Math.min(retryMs - spentMs - (nowMs - failedAtMs), untilMs - nowMs);
        const pauseMs = Math.min(storePauseMs(pauses), leftMs);
        if (!isWaitedFor(error) || pauseMs <= 0) throw error;
        this.#tell(error);
        await sleep(pauseMs, this.#options.signal);
      } finally {
        if (failedAtMs !== undefined) this.#waitedMs = spentMs + this.#steady.nowMs() - failedAtMs;
      }
    }
  }

  #tell(error: TemperaError): void {
    const { state, until } = stateOfStore(error);
    if (this.#notified === state) return;
    this.#notified = state;
    this.#options.tell(`${state}; the result is stored when it ${until}.`, error);
  }
}

/**
 * Tells whether an error is the failure of a named store, which is waited for. A value that a store has lost
 * names none: waiting brings nothing back.
 */
export function isWaitedFor(error: unknown): error is TemperaError {
  return isStoreFailure(error) && error.store !== undefined;
}
