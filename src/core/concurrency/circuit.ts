import { setTimeout as sleep } from "node:timers/promises";

export interface CircuitOptions {
  /** Asks the service for a small answer; rejects when none comes. */
  probe(): Promise<unknown>;
  /** Tells whether an error means that the service gave no answer. */
  isOutage(error: unknown): boolean;
  /** Makes the error of a call that is not sent. */
  refusal(): Error;
  /** Waits between two probes. */
  pause?(signal: AbortSignal): Promise<void>;
}

/** Milliseconds between two probes. */
const PAUSE_MS = 500;

/**
 * A circuit stands between callers and a service. It refuses calls while the service is away, so that nobody
 * waits for an answer that does not come.
 *
 * - **closed**: every call is sent. A call that gets no answer starts a probe, and only the probe can open
 *   the circuit: one slow call does not.
 * - **open**: the probe got no answer either. Calls are refused, and one probe after another is sent. The
 *   first one that gets an answer closes the circuit.
 */
export class Circuit implements Disposable {
  readonly #options: CircuitOptions;
  readonly #stopped = new AbortController();
  #isOpen = false;
  #isWatching = false;

  constructor(options: CircuitOptions) {
    this.#options = options;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Settles as `work` does, or rejects with the refusal when the circuit is open. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#isOpen) throw this.#options.refusal();
    try {
      return await work();
    } catch (error) {
      if (this.#options.isOutage(error)) void this.#watch();
      throw error;
    }
  }

  /** Ends the probes. */
  [Symbol.dispose](): void {
    this.#stopped.abort();
  }

  /** Probes until the service answers. */
  async #watch(): Promise<void> {
    if (this.#isWatching) return;
    this.#isWatching = true;
    const { signal } = this.#stopped;
    const { probe, pause = (until) => sleep(PAUSE_MS, undefined, { signal: until, ref: false }) } =
      this.#options;
    while (!signal.aborted) {
      this.#isOpen = await probe().then(
        () => false,
        () => true,
      );
      if (!this.#isOpen) break;
      await pause(signal).catch(() => {});
    }
    this.#isWatching = false;
  }
}
