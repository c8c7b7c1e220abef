/**
 * The sharing of one engine: lets a run begin when it may run beside those that run already. Runs of suspects
 * (`treatmentOf`) wait for the others to end, and the others for them, in the order in which they came; runs
 * of anybody else never wait here.
 */

import type { Release } from "../../../core/concurrency/semaphore.ts";
import { onAbort } from "../../../core/concurrency/with-abort.ts";
import type { Treatment } from "../../../core/engines/crash.ts";

/** A run with the company that it may have. */
export interface Sharer extends Pick<Treatment, "alone" | "apart"> {
  ownerId: string;
}

export class EngineSharing {
  readonly #running = new Set<Sharer>();
  readonly #waiting = new Set<{ sharer: Sharer; enter: () => void }>();

  /** Resolves when the run may begin. Rejects with the signal's reason when `signal` aborts first. */
  async enter(sharer: Sharer, signal: AbortSignal): Promise<Release> {
    signal.throwIfAborted();
    if (this.#waiting.size > 0 || !this.#mayEnter(sharer)) await this.#wait(sharer, signal);
    else this.#running.add(sharer);
    return () => {
      if (this.#running.delete(sharer)) this.#letIn();
    };
  }

  #wait(sharer: Sharer, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter = {
        sharer,
        enter: () => {
          subscription[Symbol.dispose]();
          resolve();
        },
      };
      this.#waiting.add(waiter);
      const subscription = onAbort(signal, () => {
        if (!this.#waiting.delete(waiter)) return;
        reject(signal.reason);
        this.#letIn();
      });
    });
  }

  #letIn(): void {
    for (const waiter of this.#waiting) {
      if (!this.#mayEnter(waiter.sharer)) return;
      this.#waiting.delete(waiter);
      this.#running.add(waiter.sharer);
      waiter.enter();
    }
  }

  #mayEnter(sharer: Sharer): boolean {
    return [...this.#running].every((other) => mayShare(sharer, other));
  }
}

function mayShare(one: Sharer, other: Sharer): boolean {
  if (one.alone || other.alone) return false;
  return one.ownerId === other.ownerId || !(one.apart || other.apart);
}
