export interface LiveValueOptions<T> {
  read(): Promise<T>;
  /** Subscribes to the store's announcements; resolves with a function that unsubscribes. */
  onChange(listener: () => void): Promise<() => Promise<void>>;
  /** Milliseconds between reads without an announcement, in case one is lost with its connection. */
  everyMs: number;
  /** Gets the error of each failed read but the first. */
  onReadError(error: unknown): void;
}

/**
 * A value that is wanted on every call and changes seldom, kept in memory as a whole: read at the start,
 * after each announcement of a change, and every so often.
 *
 * Reads do not overlap, and an announcement during a read leads to another one. After a failed read the last
 * value stays.
 */
export class LiveValue<T> implements AsyncDisposable {
  readonly #options: LiveValueOptions<T>;
  #current: T;
  #reading: Promise<void> | undefined;
  #readAgain = false;
  #timer: NodeJS.Timeout | undefined;
  #unsubscribe: (() => Promise<void>) | undefined;

  private constructor(options: LiveValueOptions<T>, first: T) {
    this.#options = options;
    this.#current = first;
  }

  /** Resolves with the value once it is known. Rejects when the first read does. */
  static async start<T>(options: LiveValueOptions<T>): Promise<LiveValue<T>> {
    const value = new LiveValue(options, await options.read());
    value.#unsubscribe = await options.onChange(() => value.#refresh());
    value.#timer = setInterval(() => value.#refresh(), options.everyMs).unref();
    return value;
  }

  get current(): T {
    return this.#current;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#unsubscribe?.();
    await this.#reading;
  }

  #refresh(): void {
    this.#readAgain = true;
    this.#reading ??= this.#readUntilCurrent()
      .catch((error) => this.#options.onReadError(error))
      .finally(() => {
        this.#reading = undefined;
      });
  }

  async #readUntilCurrent(): Promise<void> {
    do {
      this.#readAgain = false;
      this.#current = await this.#options.read();
    } while (this.#readAgain);
  }
}
