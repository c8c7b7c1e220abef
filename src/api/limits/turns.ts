import { setImmediate as othersTurn } from "node:timers/promises";
import { type Release, Semaphore } from "../../core/concurrency/semaphore.ts";
import { sleep } from "../../core/concurrency/sleep.ts";
import { LIMITS } from "../../core/limits.ts";

export interface TurnsOptions {
  /** @default a clock that nobody sets */
  nowMs?: () => number;
  /** Waits. @default `sleep` */
  rest?: (ms: number) => Promise<void>;
}

interface Owner {
  /** One call of an owner has a turn at a time, with the rest after it. */
  turns: Semaphore;
  /** Time of its work for which it has not rested yet. */
  owedMs: number;
}

/**
 * Work that keeps the event loop from everybody while it is done, such as parsing a large body. One piece is
 * done in a turn of the loop. Owners take turns, and after a long piece its owner rests for a multiple of the
 * time that it took: the most of a loop that one owner can take is a fifth, at any rate of calls.
 */
export class Turns {
  readonly #nowMs: () => number;
  readonly #pause: (ms: number) => Promise<void>;
  readonly #loop = new Semaphore(1);
  /** The owners who work, wait or rest. */
  readonly #owners = new Map<string, Owner>();
  /** The time of the small work that owners have had in this turn of the loop. */
  readonly #spentMs = new Map<string, number>();

  constructor({ nowMs = () => performance.now(), rest = sleep }: TurnsOptions = {}) {
    this.#nowMs = nowMs;
    this.#pause = rest;
  }

  /**
   * Does a piece of work as soon as it is its owner's turn. Rejects with what the work throws, or the promise
   * that it returns rejects with.
   */
  async take<T>(ownerId: string, work: () => T | Promise<T>): Promise<T> {
    const owner = this.#ownerOf(ownerId);
    const endRest = await owner.turns.acquire();
    return this.#inLoop(owner, work, () => this.#rest(ownerId, owner, endRest));
  }

  /**
   * Does a further piece of work for a call that has had its turn: it does not wait for the rest after that,
   * but its owner rests for this piece too before another call has a turn.
   */
  resume<T>(ownerId: string, work: () => T | Promise<T>): Promise<T> {
    const owner = this.#ownerOf(ownerId);
    return this.#inLoop(owner, work, async () => {
      // A rest under way gets longer.
      if (owner.turns.running === 0) await this.#rest(ownerId, owner, await owner.turns.acquire());
    });
  }

  /**
   * Does small work at once, of which an owner has up to `LIMITS.turnWithoutRestMs` in a turn of the loop.
   * Returns false when its owner has had that: the work should take a turn. Throws what the work throws.
   */
  tryNow(ownerId: string, work: () => void): boolean {
    const spentMs = this.#spentMs.get(ownerId) ?? 0;
    if (spentMs >= LIMITS.turnWithoutRestMs) return false;
    if (this.#spentMs.size === 0) setImmediate(() => this.#spentMs.clear());
    const startedAtMs = this.#nowMs();
    try {
      work();
    } finally {
      this.#spentMs.set(ownerId, spentMs + this.#nowMs() - startedAtMs);
    }
    return true;
  }

  #ownerOf(ownerId: string): Owner {
    const owner = this.#owners.get(ownerId) ?? { turns: new Semaphore(1), owedMs: 0 };
    this.#owners.set(ownerId, owner);
    return owner;
  }

  async #inLoop<T>(owner: Owner, work: () => T | Promise<T>, done: () => void): Promise<T> {
    const endTurn = await this.#loop.acquire();
    const startedAtMs = this.#nowMs();
    // Ends before any other callback of the loop, and after what the caller does at once with the result.
    process.nextTick(() => {
      owner.owedMs += this.#nowMs() - startedAtMs;
    });
    void othersTurn().then(() => {
      endTurn();
      done();
    });
    return work();
  }

  /** Lets an owner rest for what it owes, also for what comes to that meanwhile. */
  async #rest(ownerId: string, owner: Owner, endRest: Release): Promise<void> {
    while (owner.owedMs >= LIMITS.turnWithoutRestMs) {
      const { owedMs } = owner;
      owner.owedMs = 0;
      await this.#pause(owedMs * LIMITS.turnRestFactor);
    }
    endRest();
    if (owner.turns.running === 0) this.#owners.delete(ownerId);
  }
}
