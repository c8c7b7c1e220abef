/**
 * The waiting requests of one task queue in order: by priority, then by queueing time. A position is found by
 * bisection.
 */
export class PendingQueue {
  readonly #entries: Entry[] = [];
  readonly #byRequest = new Map<string, Entry>();
  #sequence = 0;

  get length(): number {
    return this.#entries.length;
  }

  /** Adds a request; a lower rank goes first. A request that waits already keeps its position. */
  add(requestId: string, rank: number): void {
    if (this.#byRequest.has(requestId)) return;
    const entry = { rank, sequence: ++this.#sequence, requestId };
    this.#byRequest.set(requestId, entry);
    this.#entries.splice(this.#countBefore(entry), 0, entry);
  }

  remove(requestId: string): void {
    const entry = this.#byRequest.get(requestId);
    if (!entry) return;
    this.#byRequest.delete(requestId);
    this.#entries.splice(this.#countBefore(entry), 1);
  }

  /** Returns the number of requests ahead; 0 for a request that does not wait. */
  position(requestId: string): number {
    const entry = this.#byRequest.get(requestId);
    return entry ? this.#countBefore(entry) : 0;
  }

  #countBefore({ rank, sequence }: Entry): number {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = this.#entries[middle] as Entry;
      if (at.rank < rank || (at.rank === rank && at.sequence < sequence)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

interface Entry {
  rank: number;
  /** Rises with the time of queueing. */
  sequence: number;
  requestId: string;
}
