import { isStoreFailure } from "../errors/store-failure.ts";
import { errorInfo } from "../errors/tempera-error.ts";
import type { Log } from "../operations/log.ts";

/** Longest wait of `stop` for a run under way. A sweep that is cut off continues in the next process. */
const STOP_MS = 2_000;

export interface PeriodicTaskOptions {
  /** Milliseconds from one start to the next; a start is left out while the run before it goes on. */
  everyMs: number;
  /** The work as a noun phrase; the log says `<description> failed`. */
  description: string;
  log: Log;
  /** The first run begins at the construction. @default false */
  startsAtOnce?: boolean;
}

/**
 * A piece of work that runs every so often, never twice at once, from the construction until `stop`.
 *
 * A failed run is logged and the next one follows: at debug level while a store is unavailable, which passes,
 * and as an error otherwise.
 */
export class PeriodicTask {
  readonly #run: () => Promise<unknown>;
  readonly #options: PeriodicTaskOptions;
  readonly #timer: NodeJS.Timeout;
  #running: Promise<void> | undefined;

  constructor(run: () => Promise<unknown>, options: PeriodicTaskOptions) {
    this.#run = run;
    this.#options = options;
    const begin = (): void => {
      this.#running ??= this.#runOnce();
    };
    this.#timer = setInterval(begin, options.everyMs);
    if (options.startsAtOnce) begin();
  }

  /** Starts no further run. Resolves when the run under way has ended, after two seconds at the latest. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    let timer: NodeJS.Timeout | undefined;
    const timeUp = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, STOP_MS);
    });
    await Promise.race([this.#running, timeUp]);
    clearTimeout(timer);
  }

  async #runOnce(): Promise<void> {
    const { description, log } = this.#options;
    try {
      await this.#run();
    } catch (error) {
      if (isStoreFailure(error)) log.debug({ err: errorInfo(error) }, `${description} failed`);
      else log.error({ err: error }, `${description} failed`);
    } finally {
      this.#running = undefined;
    }
  }
}
