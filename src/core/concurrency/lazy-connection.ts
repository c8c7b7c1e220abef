import { isTemperaError } from "../errors/tempera-error.ts";
import { sleep } from "./sleep.ts";

export interface LazyConnectionOptions<T> {
  /** Tries once to open the connection. A rejected try must leave nothing open. */
  open(): Promise<T>;
  /** Closes what a try has opened that was under way at the disposal. @default it is left to `open` */
  close?(value: T): unknown;
  /** Called after each try that failed and is followed by another one. */
  onFailure?(error: unknown): void;
  /** Called once, when the connection is open. */
  onOpen?(value: T): void;
  /** Tells whether another try may help; `ready` rejects with any other error. @default `isOutage` */
  isPassing?(error: unknown): boolean;
  /** Waits after the try of this number, counted from 1. @default 0.25 s, doubled up to 2 s, with jitter */
  pause?(tries: number, signal: AbortSignal): Promise<void>;
}

const FIRST_PAUSE_MS = 250;
const PAUSE_MS_MAX = 2_000;

const OUTAGES: ReadonlySet<string> = new Set(["store_unavailable", "store_full", "temporal_unavailable"]);

/** Tells whether an error means that a service cannot be used at present. */
export function isOutage(error: unknown): boolean {
  return isTemperaError(error) && OUTAGES.has(error.code);
}

/**
 * A connection that is opened in the background and tried again until it is open, so that its owner can start
 * before the service that it leads to. Once open it stays so: what it leads to reconnects by itself.
 */
export class LazyConnection<T> implements Disposable {
  /** Resolves when the connection is open. Rejects when another try cannot help, and after the disposal. */
  readonly ready: Promise<T>;
  /** Resolves when the first try has ended, in either way. */
  readonly firstTry: Promise<void>;
  readonly #options: LazyConnectionOptions<T>;
  readonly #stopped = new AbortController();
  #opened: { value: T } | undefined;
  #fault: unknown;

  constructor(options: LazyConnectionOptions<T>) {
    this.#options = options;
    let endFirstTry = (): void => {};
    this.firstTry = new Promise((resolve) => {
      endFirstTry = resolve;
    });
    this.ready = this.#open(endFirstTry);
    this.ready.catch(() => {}); // reported by whoever awaits it
  }

  get isOpen(): boolean {
    return this.#opened !== undefined;
  }

  /** The open connection; `undefined` while there is none. */
  get current(): T | undefined {
    return this.#opened?.value;
  }

  /** The error that ended the tries: another one could not help. */
  get fault(): unknown {
    return this.#fault;
  }

  /** Ends the tries. */
  [Symbol.dispose](): void {
    this.#stopped.abort(new Error("The connection is no longer wanted."));
  }

  async #open(endFirstTry: () => void): Promise<T> {
    const { open, close, onOpen, onFailure, isPassing = isOutage, pause = pauseAfter } = this.#options;
    const { signal } = this.#stopped;
    for (let tries = 1; ; tries++) {
      try {
        const value = await open();
        if (signal.aborted) await close?.(value);
        signal.throwIfAborted();
        this.#opened = { value };
        onOpen?.(value);
        return value;
      } catch (error) {
        signal.throwIfAborted();
        if (!isPassing(error)) {
          this.#fault = error;
          throw error;
        }
        onFailure?.(error);
      } finally {
        endFirstTry();
      }
      await pause(tries, signal);
    }
  }
}

function pauseAfter(tries: number, signal: AbortSignal): Promise<void> {
  const longestMs = Math.min(FIRST_PAUSE_MS * 2 ** (tries - 1), PAUSE_MS_MAX);
  // Processes that wait for the same service do not all come at once.
  return sleep(longestMs * (0.5 + Math.random() / 2), signal);
}
