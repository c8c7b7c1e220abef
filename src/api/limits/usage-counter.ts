import { LRUCache } from "lru-cache";
import { errorInfo, isTemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Log } from "../../core/operations/log.ts";
import type { Reservation } from "./reservations.ts";

/**
 * Counts what an owner has in the stores.
 *
 * @param atMost a count beyond this is of no interest, so it may stop there
 */
type CountRecords = (ownerId: string, atMost: number) => Promise<number>;

/** The usage of one owner, as far as it is known here. */
interface Account {
  /** The last count of the stores. */
  counted: number;
  /** When that count ended, by `performance.now()`; `undefined` before the first. */
  countedAtMs?: number;
  counting?: Promise<void>;
  /** Reservations that no count includes yet. */
  reservations: Map<Reservation, { points: number; recorded: boolean }>;
}

/** A refusal goes by a count that is at most this old, so that a flood of calls does not count each time. */
const REFUSAL_COUNT_AGE_MS = 100;

/**
 * Usage of one kind, for each owner: the last count of the stores plus the reservations made here since, so
 * that most calls need no query.
 *
 * The stores are counted anew behind a call every `LIMITS.usageCounterMs`, and before a refusal. Other
 * gateways' reservations are unknown here until the next count. So the limit is exact with one gateway, and
 * several can exceed it together by what they accept within `LIMITS.usageCounterMs`. While the stores cannot
 * be read, the last count stays valid and reservations go on adding up.
 */
export class UsageCounter {
  readonly #count: CountRecords;
  readonly #log: Log;
  readonly #accounts = new LRUCache<string, Account>({ max: LIMITS.limitsCachedMax });

  constructor({ count, log }: { count: CountRecords; log: Log }) {
    this.#count = count;
    this.#log = log;
  }

  /** Reserves `points`, or returns `undefined` when that would exceed `max`. Never rejects. */
  async reserve(ownerId: string, max: number, points = 1): Promise<Reservation | undefined> {
    const account = this.#accountOf(ownerId);
    const exceeds = (): boolean => usageOf(account) + points > max;
    const ageMs = performance.now() - (account.countedAtMs ?? Number.NEGATIVE_INFINITY);
    if (account.countedAtMs === undefined || (exceeds() && ageMs > REFUSAL_COUNT_AGE_MS))
      await this.#recount(ownerId, account, max);
    else if (ageMs > LIMITS.usageCounterMs)
      this.#recount(ownerId, account, max).catch((error) =>
        this.#log.error({ ownerId, err: error }, "counting an owner's usage failed"),
      );
    return exceeds() ? undefined : addReservation(account, points);
  }

  #accountOf(ownerId: string): Account {
    let account = this.#accounts.get(ownerId);
    if (!account) {
      account = { counted: 0, reservations: new Map() };
      this.#accounts.set(ownerId, account);
    }
    return account;
  }

  #recount(ownerId: string, account: Account, atMost: number): Promise<void> {
    account.counting ??= this.#countOnce(ownerId, account, atMost).finally(() => {
      account.countedAtMs = performance.now();
      delete account.counting;
    });
    return account.counting;
  }

  async #countOnce(ownerId: string, account: Account, atMost: number): Promise<void> {
    // The count that starts now includes what is recorded by now. What is recorded while it runs may count
    // twice until the next count.
    const included = [...account.reservations].filter(([, { recorded }]) => recorded);
    try {
      account.counted = await this.#count(ownerId, atMost);
      for (const [reservation] of included) account.reservations.delete(reservation);
    } catch (error) {
      if (!isTemperaError(error)) throw error;
      this.#log.warn(
        { ownerId, err: errorInfo(error) },
        "an owner's usage cannot be counted; the last count stays valid",
      );
    }
  }
}

function usageOf({ counted, reservations }: Account): number {
  let usage = counted;
  for (const { points } of reservations.values()) usage += points;
  return usage;
}

function addReservation({ reservations }: Account, points: number): Reservation {
  const state = { points, recorded: false };
  const reservation: Reservation = {
    markRecorded: () => {
      state.recorded = true;
    },
    release: () => void reservations.delete(reservation),
  };
  reservations.set(reservation, state);
  return reservation;
}
