import { type Release, Semaphore } from "../../core/concurrency/semaphore.ts";
import { timeoutSignal } from "../../core/concurrency/timeout-signal.ts";
import { LIMITS } from "../../core/limits.ts";

/** The limits of each host. */
export interface HostLimits {
  /** Attempts at once. */
  inFlightMax: number;
  /** Attempts in the queue. */
  waitingMax: number;
  /** The longest wait in the queue, in milliseconds. */
  waitMs: number;
}

/**
 * Limits the delivery attempts to each host, so that a slow host occupies only its own share. An attempt that
 * finds the queue of its host full is refused at once, and its delivery comes back later.
 */
export class HostLimiter {
  readonly #limits: HostLimits;
  readonly #hosts = new Map<string, Semaphore>();

  constructor(limits: HostLimits) {
    this.#limits = limits;
  }

  /**
   * Resolves with the release, or with `undefined` when the host's queue is full or the wait took longer than
   * `waitMs`. Rejects with the signal's reason.
   */
  async acquire(host: string, signal: AbortSignal): Promise<Release | undefined> {
    signal.throwIfAborted();
    const semaphore = this.#hosts.get(host) ?? new Semaphore(this.#limits.inFlightMax);
    this.#hosts.set(host, semaphore);
    const free = semaphore.tryAcquire();
    if (free) return this.#releaseOf(host, semaphore, free);
    if (semaphore.waiting >= this.#limits.waitingMax) return undefined;
    try {
      const release = await this.#wait(semaphore, signal);
      return release && this.#releaseOf(host, semaphore, release);
    } finally {
      this.#forgetIfIdle(host, semaphore);
    }
  }

  /** Returns true when an attempt would be admitted now, or may join the queue. */
  hasCapacity(host: string): boolean {
    const semaphore = this.#hosts.get(host);
    const { inFlightMax, waitingMax } = this.#limits;
    return !semaphore || semaphore.running < inFlightMax || semaphore.waiting < waitingMax;
  }

  async #wait(semaphore: Semaphore, signal: AbortSignal): Promise<Release | undefined> {
    const timeout = timeoutSignal(this.#limits.waitMs);
    try {
      return await semaphore.acquire(AbortSignal.any([signal, timeout.signal]));
    } catch {
      signal.throwIfAborted();
      return undefined;
    } finally {
      timeout[Symbol.dispose]();
    }
  }

  #releaseOf(host: string, semaphore: Semaphore, release: Release): Release {
    return () => {
      release();
      this.#forgetIfIdle(host, semaphore);
    };
  }

  #forgetIfIdle(host: string, semaphore: Semaphore): void {
    if (semaphore.running === 0 && this.#hosts.get(host) === semaphore) this.#hosts.delete(host);
  }
}

/** Creates the limiter of one orchestrator's webhooks. */
export function createWebhookHostLimiter(): HostLimiter {
  return new HostLimiter({
    inFlightMax: LIMITS.webhookHostInFlightMax,
    waitingMax: LIMITS.webhookHostWaitingMax,
    waitMs: LIMITS.webhookHostWaitMs,
  });
}
