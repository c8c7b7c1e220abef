/**
 * The sharing of one engine: lets a run begin when it may run beside those that run already. Runs of suspects
 * (`treatmentOf`) have the engine without other owners, and may not stall these:
 *
 * - An idle engine takes a suspect at once.
 * - A suspect that finds others on a busy engine waits. It holds a slot of the worker meanwhile, so only one
 *   of each owner waits, and `waitingMax` of all owners; the rest is turned away.
 * - The first suspect that waits has its turn: newcomers wait until the engine is empty and it has run.
 * - When others had to wait for that, suspects rest for `REST` times as long: others pass them meanwhile.
 *
 * So suspects stall others for at most a quarter of the time, and the first that waits runs after a rest and
 * one run of somebody else.
 */
import type { Release } from "../../../core/concurrency/semaphore.ts";
import { onAbort } from "../../../core/concurrency/with-abort.ts";
import type { Treatment } from "../../../core/engines/crash.ts";
import { RunTurnedAway } from "../../../core/engines/engine.ts";

/** A run with the company that it may have. */
export interface Sharer extends Pick<Treatment, "alone" | "apart"> {
  ownerId: string;
}

interface Waiter {
  sharer: Sharer;
  enter: () => void;
}

/** Rest of suspects, as a multiple of the time for which others have waited for them. */
const REST = 3;

export class EngineSharing {
  readonly #waitingMax: number;
  readonly #nowMs: () => number;
  readonly #running = new Set<Sharer>();
  readonly #waiting = new Set<Waiter>();
  /** Since when others wait for suspects; absent while none does. */
  #stalledSinceMs: number | undefined;
  #restUntilMs = Number.NEGATIVE_INFINITY;

  /** @param waitingMax suspects that may wait at once */
  constructor(waitingMax: number, nowMs: () => number) {
    this.#waitingMax = waitingMax;
    this.#nowMs = nowMs;
  }

  /**
   * Resolves when the run may begin. Rejects with `RunTurnedAway` when enough suspects wait, and with the
   * signal's reason when `signal` aborts first.
   */
  async enter(sharer: Sharer, signal: AbortSignal): Promise<Release> {
    signal.throwIfAborted();
    const isBehind = isSuspect(sharer) && this.#suspectsWaiting().length > 0;
    if (!isBehind && this.#mayEnter(sharer)) this.#running.add(sharer);
    else {
      if (isSuspect(sharer)) this.#refuseTooMany(sharer);
      await this.#wait(sharer, signal);
    }
    return () => {
      if (!this.#running.delete(sharer)) return;
      if (isSuspect(sharer) && ![...this.#running].some(isSuspect)) this.#beginRest();
      this.#letIn();
    };
  }

  #mayEnter(sharer: Sharer): boolean {
    if (![...this.#running].every((other) => mayShare(sharer, other))) return false;
    const isTurnOfSuspects = this.#nowMs() >= this.#restUntilMs;
    if (!isSuspect(sharer)) return !(isTurnOfSuspects && this.#suspectsWaiting().length > 0);
    const othersWait = this.#stalledSinceMs !== undefined;
    return !othersWait || (isTurnOfSuspects && this.#running.size === 0);
  }

  #refuseTooMany({ ownerId }: Sharer): void {
    const waiting = this.#suspectsWaiting();
    if (waiting.length < this.#waitingMax && waiting.every(({ sharer }) => sharer.ownerId !== ownerId))
      return;
    throw new RunTurnedAway(
      "The engine crashed during a request of this owner, so this one must not run beside those of others, " +
        "and enough requests wait for that already.",
    );
  }

  #wait(sharer: Sharer, signal: AbortSignal): Promise<void> {
    if (!isSuspect(sharer)) this.#stalledSinceMs ??= this.#nowMs();
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
        if (![...this.#running].some(isSuspect) && this.#suspectsWaiting().length === 0) this.#beginRest();
        this.#letIn();
      });
    });
  }

  /** Begins the rest of suspects, when others have waited for them. */
  #beginRest(): void {
    if (this.#stalledSinceMs === undefined) return;
    const nowMs = this.#nowMs();
    this.#restUntilMs = nowMs + REST * (nowMs - this.#stalledSinceMs);
    this.#stalledSinceMs = undefined;
  }

  #letIn(): void {
    const suspects = this.#suspectsWaiting();
    const others = [...this.#waiting].filter(({ sharer }) => !isSuspect(sharer));
    for (const waiter of [...others, ...suspects]) {
      if (!this.#mayEnter(waiter.sharer)) continue;
      this.#waiting.delete(waiter);
      this.#running.add(waiter.sharer);
      waiter.enter();
    }
  }

  #suspectsWaiting(): Waiter[] {
    return [...this.#waiting].filter(({ sharer }) => isSuspect(sharer));
  }
}

function isSuspect({ alone, apart }: Sharer): boolean {
  return alone || apart;
}

function mayShare(one: Sharer, other: Sharer): boolean {
  if (one.alone || other.alone) return false;
  return one.ownerId === other.ownerId || !(one.apart || other.apart);
}
