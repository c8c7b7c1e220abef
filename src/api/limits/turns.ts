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

/**
 * Work that keeps the event loop from everybody while it is done, such as parsing a large body. One piece is
 * done in a turn of the loop. Owners take turns, and after a long piece its owner rests for a multiple of the
 * time that it took: the most of a loop that one owner can take is a fifth, at any rate of calls.
 */
export class Turns {
  readonly #nowMs: () => number;
  readonly #pause: (ms: number) => Promise<void>;
  readonly #loop = new Semaphore(1);
  /** The turns of owners who work, wait or rest. */
  readonly #owners = new Map<string, Semaphore>();
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
    const endRest = await this.#acquire(ownerId);
    return this.#inLoop(work, (tookMs) => this.#rest(ownerId, tookMs, endRest));
  }

  /**
   * Does a further piece of work for a call that has had its turn: it does not wait for the rest after that,
   * but its owner's next calls rest for this piece too.
   */
  resume<T>(ownerId: string, work: () => T | Promise<T>): Promise<T> {
    return this.#inLoop(work, async (tookMs) => {
      if (tookMs >= LIMITS.turnWithoutRestMs) this.#rest(ownerId, tookMs, await this.#acquire(ownerId));
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

  #acquire(ownerId: string): Promise<Release> {
    const own = this.#owners.get(ownerId) ?? new Semaphore(1);
    this.#owners.set(ownerId, own);
    return own.acquire();
  }

  async #inLoop<T>(work: () => T | Promise<T>, done: (tookMs: number) => void): Promise<T> {
    const endTurn = await this.#loop.acquire();
    const startedAtMs = this.#nowMs();
    // The turn ends with this one of the loop, so it includes the caller's own work on the result.
    void othersTurn().then(() => {
      const tookMs = this.#nowMs() - startedAtMs;
      endTurn();
      done(tookMs);
    });
    return work();
  }

  async #rest(ownerId: string, tookMs: number, endRest: Release): Promise<void> {
    if (tookMs >= LIMITS.turnWithoutRestMs) await this.#pause(tookMs * LIMITS.turnRestFactor);
    endRest();
    if (this.#owners.get(ownerId)?.running === 0) this.#owners.delete(ownerId);
  }
}
