/**
 * A semaphore: so many holders at once, the others wait in the order in which they came.
 *
 * Workflow code uses it too, so it has no timers and no I/O, and resolves in the same order in every replay.
 */

/** Gives back what was acquired. Calling it twice is harmless. */
export type Release = () => void;

export class Semaphore {
  readonly #capacity: () => number;
  readonly #queue = new Set<(release: Release) => void>();
  #running = 0;

  /** @param capacity holders at once; a function is asked again at each `acquire` and release */
  constructor(capacity: number | (() => number)) {
    this.#capacity = typeof capacity === "number" ? () => capacity : capacity;
  }

  /** Holders at this moment. */
  get running(): number {
    return this.#running;
  }

  /** Callers of `acquire` that still wait. */
  get waiting(): number {
    return this.#queue.size;
  }

  /**
   * Resolves with the release of what was acquired. Rejects with the signal's reason when `signal` aborts
   * first: the caller has left the queue then and holds nothing.
   */
  async acquire(signal?: AbortSignal): Promise<Release> {
    signal?.throwIfAborted();
    const free = this.tryAcquire();
    if (free) return free;
    const release = await this.#enqueue(signal);
    // The abort may come between the grant and this line: the grant goes to the next in the queue.
    if (signal?.aborted) {
      release();
      throw signal.reason;
    }
    return release;
  }

  /** Acquires at once, or returns `undefined` when the capacity is used up or others wait already. */
  tryAcquire(): Release | undefined {
    this.#grant();
    return this.#queue.size === 0 && this.#running < this.#capacity() ? this.#hold() : undefined;
  }

  #enqueue(signal?: AbortSignal): Promise<Release> {
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#queue.delete(grant);
        reject(signal?.reason);
      };
      const grant = (release: Release) => {
        signal?.removeEventListener("abort", onAbort);
        resolve(release);
      };
      this.#queue.add(grant);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  #hold(): Release {
    this.#running++;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.#running--;
      this.#grant();
    };
  }

  /** Lets in as many of the queue as there is capacity for. */
  #grant(): void {
    for (const next of this.#queue) {
      if (this.#running >= this.#capacity()) return;
      this.#queue.delete(next);
      next(this.#hold());
    }
  }
}
