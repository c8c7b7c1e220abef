import type { Release } from "./semaphore.ts";

interface Waiting {
  weight: number;
  begin(release: Release): void;
}

/**
 * A semaphore whose holders have weights and owners: holders together weigh at most so much, those of an
 * owner come in their order, and owners take turns. One that weighs more than the capacity holds it alone.
 */
export class FairSemaphore {
  readonly #capacity: number;
  /** Those who wait, by owner; the owner whose turn it is comes first. */
  readonly #queues = new Map<string, Waiting[]>();
  #held = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Weight of the holders at this moment. */
  get held(): number {
    return this.#held;
  }

  /** Resolves with the release of what was acquired. */
  acquire(owner: string, weight = 1): Promise<Release> {
    return new Promise((begin) => {
      const queue = this.#queues.get(owner) ?? [];
      queue.push({ weight, begin });
      this.#queues.set(owner, queue);
      this.#grant();
    });
  }

  /** Does work that needs the weight; settles as the work does. */
  async run<T>(owner: string, weight: number, work: () => Promise<T>): Promise<T> {
    const release = await this.acquire(owner, weight);
    try {
      return await work();
    } finally {
      release();
    }
  }

  /** Lets in as many as there is room for. Nobody overtakes the next one, so that heavy ones get in. */
  #grant(): void {
    for (const [owner, queue] of this.#queues) {
      const [next] = queue;
      if (!next) continue;
      if (this.#held > 0 && this.#held + next.weight > this.#capacity) return;
      queue.shift();
      // To the end of the owners.
      this.#queues.delete(owner);
      if (queue.length > 0) this.#queues.set(owner, queue);
      next.begin(this.#hold(next.weight));
    }
  }

  #hold(weight: number): Release {
    this.#held += weight;
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#held -= weight;
      this.#grant();
    };
  }
}
