import { errorInfo, isTemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Log } from "../../core/operations/log.ts";

/** Something that was taken and counts: from here until the records have it, from then on by them. */
export interface Held {
  /** The records have it: the next count includes it. */
  recorded(): void;
  /** It did not come about. */
  drop(): void;
}

export interface Tally {
  /** Takes `points` of an owner's, unless that would be more than `max`; then `undefined`. Never rejects. */
  take(ownerId: string, max: number, points?: number): Promise<Held | undefined>;
}

interface Account {
  counted: number;
  /** By a clock that does not jump; `undefined`: never. */
  countedAtMs?: number;
  counting?: Promise<void>;
  held: Map<Held, { points: number; recorded: boolean }>;
}

/**
 * Refusals within so many milliseconds of a count go by that count: a flood must not count the records each
 * time.
 */
const REFUSED_BY_MS = 100;

/**
 * Knows what each owner has of something, without a look at the records with each call: the last count of
 * them, and what was taken here since. Counts again behind a call every `LIMITS.tallyMs`, and before it
 * refuses. What other gateways take within that time is not known here, so the limit is exact with one
 * gateway, and with several it can be passed by what they take within `LIMITS.tallyMs`. While the records
 * cannot be read, the last count stands and what is taken here goes on adding up.
 */
export function createTally({
  count,
  log,
}: {
  count: (ownerId: string, atMost: number) => Promise<number>;
  log: Log;
}): Tally {
  const accounts = new Map<string, Account>();

  const accountOf = (ownerId: string): Account => {
    const known = accounts.get(ownerId);
    if (known) return known;
    if (accounts.size >= LIMITS.allowancesRememberedMax)
      accounts.delete(accounts.keys().next().value as string);
    const account: Account = { counted: 0, held: new Map() };
    accounts.set(ownerId, account);
    return account;
  };

  const recount = (ownerId: string, account: Account, atMost: number): Promise<void> => {
    account.counting ??= (async () => {
      // In the count that starts now are those recorded by now. Of what is recorded meanwhile it may be in
      // both for a moment.
      const included = [...account.held].flatMap(([held, { recorded }]) => (recorded ? [held] : []));
      try {
        account.counted = await count(ownerId, atMost);
        for (const held of included) account.held.delete(held);
      } catch (error) {
        if (!isTemperaError(error)) throw error;
        log.warn(
          { ownerId, err: errorInfo(error) },
          "what an owner has in hand cannot be counted; the last count stands",
        );
      } finally {
        account.countedAtMs = performance.now();
        delete account.counting;
      }
    })();
    return account.counting;
  };

  const sum = ({ counted, held }: Account): number => {
    let all = counted;
    for (const { points } of held.values()) all += points;
    return all;
  };

  return {
    async take(ownerId, max, points = 1) {
      const account = accountOf(ownerId);
      const age =
        account.countedAtMs === undefined
          ? Number.POSITIVE_INFINITY
          : performance.now() - account.countedAtMs;
      if (account.countedAtMs === undefined || (sum(account) + points > max && age > REFUSED_BY_MS))
        await recount(ownerId, account, max);
      else if (age > LIMITS.tallyMs)
        recount(ownerId, account, max).catch((error) => log.error({ ownerId, err: error }, "a count failed"));
      if (sum(account) + points > max) return undefined;
      const state = { points, recorded: false };
      const held: Held = {
        recorded: () => {
          state.recorded = true;
        },
        drop: () => void account.held.delete(held),
      };
      account.held.set(held, state);
      return held;
    },
  };
}
