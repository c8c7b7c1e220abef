/** Accounting of the device memory that engines hold, and the queue of loads that wait for some of it. */
import { Semaphore } from "../../../core/concurrency/semaphore.ts";

/** Memory of one engine process: reserved before the process starts, released after it has exited. */
export interface MemoryReservation {
  /** Replaces the reserved amount with what the process really holds. */
  resize(mib: number): void;
  /** Gives the memory back. Calling it twice is harmless. */
  release(): void;
}

export class DeviceMemory {
  readonly budgetMiB: number;
  readonly #reservedMiB = new Map<MemoryReservation, number>();
  /**
   * Serves one load at a time, in the order in which they asked: small models cannot overtake a large one for
   * ever.
   */
  readonly #queue = new Semaphore(1);

  constructor(budgetMiB: number) {
    this.budgetMiB = budgetMiB;
  }

  /** Negative when engines hold more than their manifests declare. */
  get freeMiB(): number {
    return this.budgetMiB - [...this.#reservedMiB.values()].reduce((sum, mib) => sum + mib, 0);
  }

  /**
   * Resolves with a reservation as soon as `needMiB` are free. Rejects with the signal's reason when `signal`
   * aborts first.
   *
   * @param makeRoom called as long as memory is missing; resolves when there may be more of it
   */
  async reserve(
    needMiB: number,
    makeRoom: () => Promise<void>,
    signal: AbortSignal,
  ): Promise<MemoryReservation> {
    const leaveQueue = await this.#queue.acquire(signal);
    try {
      while (needMiB > this.freeMiB) {
        await makeRoom();
        signal.throwIfAborted();
      }
      return this.#add(needMiB);
    } finally {
      leaveQueue();
    }
  }

  #add(mib: number): MemoryReservation {
    const reservation: MemoryReservation = {
      resize: (newMiB) => void this.#reservedMiB.set(reservation, newMiB),
      release: () => void this.#reservedMiB.delete(reservation),
    };
    this.#reservedMiB.set(reservation, mib);
    return reservation;
  }
}
