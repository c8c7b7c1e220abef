import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { Price } from "../../core/models/model.ts";
import type { Allowance } from "../../core/owners/plan.ts";
import type { Log } from "../../core/operations/log.ts";
import type { OwnerLoad } from "../../core/owners/owner-load.ts";
import type { CallerAllowance } from "../../core/owners/plan-store.ts";
import type { Quotas, Taken } from "../../core/owners/quotas.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { Allowances } from "./owner-quotas.ts";
import { createTally, type Held } from "./usage-counter.ts";

const DAY_SECONDS = 24 * 3600;

/**
 * What owners and keys may use, asked at the door. A limit that is not set costs nothing: no question to any
 * store.
 */
export interface OwnerLimits {
  of(caller: Caller): Promise<CallerAllowance>;

  /** Counts a call that takes work in. Rejects with `rate_limited`. */
  call(caller: Caller): Promise<void>;

  /** Counts a queue request, which is held until it is recorded. Rejects with `queued_requests_limit`. */
  queue(caller: Caller): Promise<Held | undefined>;

  /**
   * Counts the price of a request, of one unit until the ledger knows better; held until it is recorded.
   * Rejects with `spend_exhausted`. A model without a price costs nothing.
   */
  spend(caller: Caller, price: Price | undefined): Promise<Held | undefined>;

  /**
   * Counts the bytes of an upload that begins. Rejects with `upload_limit`. What is returned takes them back,
   * for an upload that did not come about.
   */
  upload(ownerId: string, bytes: number): Promise<() => void>;
}

/**
 * How much of a rate may be lost to whole points. A longer window loses less, and lets more calls come
 * together.
 */
const RATE_LOST_MAX = 0.05;
/** Longest window that is taken to lose less of a rate. */
const RATE_WINDOW_SECONDS_MAX = 10;

/**
 * The steady rate as a counter of whole points, so many in a window of whole seconds: the shortest that loses
 * little of the rate.
 *
 *     rateWindow(2.5) // 5 in 2 s
 */
export function rateWindow(perSecond: number): { limit: number; windowSeconds: number } {
  const pointsIn = (seconds: number): number => Math.floor(perSecond * seconds + 1e-9);
  let windowSeconds = perSecond >= 1 ? 1 : Math.ceil(1 / perSecond);
  while (
    windowSeconds < RATE_WINDOW_SECONDS_MAX &&
    pointsIn(windowSeconds) < perSecond * windowSeconds * (1 - RATE_LOST_MAX)
  )
    windowSeconds++;
  return { limit: Math.max(1, pointsIn(windowSeconds)), windowSeconds };
}

export function createOwnerLimits({
  allowances,
  quotas,
  load,
  log,
}: {
  allowances: Allowances;
  quotas: Quotas;
  load: OwnerLoad;
  log: Log;
}): OwnerLimits {
  const queued = createTally({ count: load.unfinished, log });
  const spent = {
    day: createTally({ count: (ownerId) => load.spent(ownerId, "day"), log }),
    month: createTally({ count: (ownerId) => load.spent(ownerId, "month"), log }),
  };

  /** One call by an allowance's rate: from the steady part, else from the burst. */
  const takeCall = async (
    ownerId: string,
    name: string,
    { requestsPerSecond, burst = 0 }: Pick<Allowance, "requestsPerSecond" | "burst">,
  ): Promise<Taken> => {
    if (requestsPerSecond === undefined) return { ok: true };
    const steady = await quotas.take({ ownerId, name, ...rateWindow(requestsPerSecond) }, 1);
    if (steady.ok || burst === 0) return steady;
    // The burst comes back at the steady pace: all of it after as long as that takes.
    const windowSeconds = Math.max(1, Math.ceil(burst / requestsPerSecond));
    const beyond = await quotas.take({ ownerId, name: `${name}:burst`, limit: burst, windowSeconds }, 1);
    return beyond.ok ? beyond : steady;
  };

  return {
    of: (caller) => allowances.of(caller),

    async call(caller) {
      const { owner, key } = await allowances.of(caller);
      if (owner.requestsPerSecond === undefined && key.requestsPerSecond === undefined) return;
      const [byOwner, byKey] = await Promise.all([
        takeCall(caller.ownerId, "calls", owner),
        takeCall(caller.ownerId, `calls:${caller.keyId}`, key),
      ]);
      for (const [taken, who, { requestsPerSecond }] of [
        [byOwner, "You", owner] as const,
        [byKey, "This key", key] as const,
      ]) {
        if (taken.ok) continue;
        const says = `${who} may make ${requestsPerSecond} calls a second. Try again in ${(taken.retryAfterMs / 1000).toFixed(1)} s.`;
        throw new TemperaError("rate_limited", says, { retryAfterMs: taken.retryAfterMs });
      }
    },

    async queue(caller) {
      const { owner } = await allowances.of(caller);
      if (owner.queued === undefined) return undefined;
      const held = await queued.take(caller.ownerId, owner.queued);
      if (held) return held;
      throw new TemperaError(
        "queued_requests_limit",
        `You have ${owner.queued} requests in the queue, as many as you may. Try again when some of them have ended.`,
      );
    },

    async spend(caller, price) {
      const { owner } = await allowances.of(caller);
      if (!price || price.unitPrice === 0) return undefined;
      const held: Held[] = [];
      for (const [since, limit] of [
        ["day", owner.spendPerDay] as const,
        ["month", owner.spendPerMonth] as const,
      ]) {
        if (limit === undefined) continue;
        const taken = await spent[since].take(caller.ownerId, limit, price.unitPrice);
        if (taken) {
          held.push(taken);
          continue;
        }
        for (const each of held) each.drop();
        const until = since === "day" ? "tomorrow" : "on the first of next month";
        throw new TemperaError(
          "spend_exhausted",
          `User is locked. Reason: Exhausted balance. The ${limit} ${price.currency} that you may spend a ${since} are used up, or would be by this request; it opens again ${until} (UTC).`,
        );
      }
      return {
        recorded: () => {
          for (const each of held) each.recorded();
        },
        drop: () => {
          for (const each of held) each.drop();
        },
      };
    },

    async upload(ownerId, bytes) {
      const { owner } = await allowances.of({ ownerId });
      if (owner.uploadBytesPerDay === undefined || bytes === 0) return () => {};
      const quota = { ownerId, name: "upload", limit: owner.uploadBytesPerDay, windowSeconds: DAY_SECONDS };
      const taken = await quotas.take(quota, bytes);
      const giveBack = (): void => void quotas.giveBack(quota, bytes).catch(() => {});
      if (taken.ok) return giveBack;
      giveBack();
      throw new TemperaError(
        "upload_limit",
        `You may upload ${owner.uploadBytesPerDay.toLocaleString("en-US")} bytes a day, and this file would be more. Try again in ${Math.ceil(taken.retryAfterMs / 60_000)} minutes.`,
        { retryAfterMs: taken.retryAfterMs },
      );
    },
  };
}
