import { setImmediate as othersTurn } from "node:timers/promises";
import { Semaphore } from "../../core/concurrency/semaphore.ts";
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
  readonly #rest: (ms: number) => Promise<void>;
  readonly #loop = new Semaphore(1);
  /** The turns of owners who work, wait or rest. */
  readonly #owners = new Map<string, Semaphore>();

  constructor({ nowMs = () => performance.now(), rest = sleep }: TurnsOptions = {}) {
    this.#nowMs = nowMs;
    this.#rest = rest;
  }

  /** Does a piece of work as soon as it is its owner's turn. Rejects with what the work throws. */
  async take<T>(ownerId: string, work: () => T): Promise<T> {
    const own = this.#owners.get(ownerId) ?? new Semaphore(1);
    this.#owners.set(ownerId, own);
    const endRest = await own.acquire();
    const endTurn = await this.#loop.acquire();
    const startedAtMs = this.#nowMs();
    // The turn ends with this one of the loop, so it includes the caller's own work on the result.
    void othersTurn().then(async () => {
      const tookMs = this.#nowMs() - startedAtMs;
      endTurn();
      if (tookMs >= LIMITS.turnWithoutRestMs) await this.#rest(tookMs * LIMITS.turnRestFactor);
      endRest();
      if (own.running === 0) this.#owners.delete(ownerId);
    });
    return work();
  }
}
