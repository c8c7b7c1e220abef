import { isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";

export interface BudgetOptions {
  /** Names what is counted, in errors: "This would exceed your limit of 250 <things>." */
  things: string;
  /** The way out for an owner at its limit, as a sentence. */
  remedy: string;
  /** The most that one owner may hold; read at each use, since it may change. */
  ofOwner(): number;
  /** The most that all owners may hold together. @default no limit */
  total?(): number;
}

/** A part of a budget that an owner holds until it is disposed of. Disposing of it again does nothing. */
export interface Hold extends Disposable {
  readonly amount: number;
  /**
   * Holds another amount from now on. Throws as `Budget.acquire` does, or when it was disposed of; the amount
   * is the former one then. Less than before is never refused.
   */
  resize(amount: number): void;
  /**
   * Resizes as soon as there is room. Rejects as `resize` throws when there is none after `withinMs`, and
   * when it is disposed of meanwhile.
   */
  resizeWithin(amount: number, withinMs: number): Promise<void>;
}

/**
 * Something of which a process has only so much: sockets, open calls, bytes of bodies in memory. Its owners
 * share it, and each may hold a part of it only, so that none can take it from the others.
 */
export class Budget {
  readonly #options: BudgetOptions;
  readonly #heldBy = new Map<string, number>();
  /** Those who wait for room, in the order in which they came. */
  readonly #waiting = new Set<() => void>();
  #held = 0;

  constructor(options: BudgetOptions) {
    this.#options = options;
  }

  /** All that is held. */
  get held(): number {
    return this.#held;
  }

  /** The most that one owner may hold. */
  get ofOwner(): number {
    return this.#options.ofOwner();
  }

  /** Gives what one owner holds. */
  heldBy(ownerId: string): number {
    return this.#heldBy.get(ownerId) ?? 0;
  }

  /**
   * Takes a part for an owner. Throws `concurrent_requests_limit` when that exceeds what one owner may hold,
   * and `capacity_limit` when it exceeds the total.
   */
  acquire(ownerId: string, amount = 1): Hold {
    let held = 0;
    let isOpen = true;
    const hold = {
      get amount() {
        return held;
      },
      resize: (next: number): void => {
        if (!isOpen)
          throw new Error(`A part of the budget of ${this.#options.things} was given back already`);
        this.#change(ownerId, next - held);
        held = next;
      },
      resizeWithin: (next: number, withinMs: number) => this.#whenRoom(() => hold.resize(next), withinMs),
      [Symbol.dispose]: (): void => {
        if (!isOpen) return;
        hold.resize(0);
        isOpen = false;
      },
    };
    hold.resize(amount);
    return hold;
  }

  #change(ownerId: string, by: number): void {
    const { things, remedy, ofOwner, total = () => Number.POSITIVE_INFINITY } = this.#options;
    const held = this.heldBy(ownerId) + by;
    if (by > 0 && held > ofOwner())
      throw new TemperaError(
        "concurrent_requests_limit",
        `This would exceed your limit of ${shown(ofOwner())} ${things}. ${remedy}`,
      );
    if (by > 0 && this.#held + by > total())
      throw new TemperaError(
        "capacity_limit",
        `This would exceed the limit of ${shown(total())} ${things}, of all callers together. ` +
          "Try again later.",
      );
    this.#held += by;
    if (held === 0) this.#heldBy.delete(ownerId);
    else this.#heldBy.set(ownerId, held);
    if (by < 0) for (const wake of this.#waiting) wake();
  }

  /** Tries to take, again each time that something is given back. Rejects with the last refusal. */
  async #whenRoom(take: () => void, withinMs: number): Promise<void> {
    let isLate = false;
    let wake = (): void => {};
    const timer = setTimeout(() => {
      isLate = true;
      wake();
    }, withinMs);
    try {
      for (;;) {
        try {
          return take();
        } catch (error) {
          if (isLate || !isTemperaError(error)) throw error;
        }
        await new Promise<void>((resolve) => {
          wake = () => {
            this.#waiting.delete(wake);
            resolve();
          };
          this.#waiting.add(wake);
        });
      }
    } finally {
      clearTimeout(timer);
    }
  }
}

const shown = (amount: number): string => amount.toLocaleString("en-US");
