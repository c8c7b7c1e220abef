/**
 * The limits of owners and keys, as the gateway enforces them: which limits apply (`effective-limits.ts`),
 * what is used of them (`usage-counter.ts`), and what a request reserves of them (`reservations.ts`).
 */
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { type StoredTotal, storageLimit } from "../../core/files/storage-limit.ts";
import type { Price } from "../../core/models/model.ts";
import type { Log } from "../../core/operations/log.ts";
import type { OwnerLoad } from "../../core/owners/owner-load.ts";
import type { PlanLimits } from "../../core/owners/plan.ts";
import type { CallerLimits } from "../../core/owners/plan-store.ts";
import type { QuotaDecision, Quotas } from "../../core/owners/quotas.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { EffectiveLimits } from "./effective-limits.ts";
import { type Reservation, Reservations } from "./reservations.ts";
import { UsageCounter } from "./usage-counter.ts";

const DAY_SECONDS = 24 * 3600;

/**
 * The limits of owners and keys, checked before a request is accepted. A limit that is not set needs no
 * store.
 */
export interface OwnerLimits {
  of(caller: Caller): Promise<CallerLimits>;

  /** Counts a call that brings work. Rejects with `rate_limited`. */
  countCall(caller: Caller): Promise<void>;

  /** Reserves one queued request. Rejects with `queued_requests_limit`. */
  reserveQueued(caller: Caller): Promise<Reservation | undefined>;

  /**
   * Reserves the price of a request: of one unit, until the ledger knows the real number. Rejects with
   * `spend_limit`. A model without a price costs nothing.
   */
  reserveSpend(caller: Caller, price: Price | undefined): Promise<Reservation | undefined>;

  /** Rejects with `storage_limit` when the owner has no room for another file, or another byte. */
  checkStorage(caller: Caller): Promise<void>;

  /**
   * Counts the bytes of an upload that begins, and returns a function that gives them back, for an upload
   * that fails. Rejects with `upload_limit`.
   */
  countUploadBytes(ownerId: string, bytes: number): Promise<() => void>;
}

type Rate = Pick<PlanLimits, "requestsPerSecond" | "burst">;

/**
 * Share of a rate that rounding to whole points may lose. A longer window loses less, and lets more calls
 * come at once.
 */
const RATE_LOST_MAX = 0.05;
/** Longest window, in seconds, that is chosen to lose less of a rate. */
const RATE_WINDOW_SECONDS_MAX = 10;

/**
 * Turns a steady rate into whole points in a window of whole seconds: the shortest window that loses little
 * of the rate.
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

interface LimitParts {
  effectiveLimits: EffectiveLimits;
  quotas: Quotas;
  load: OwnerLoad;
  log: Log;
}

export function createOwnerLimits(parts: LimitParts): OwnerLimits {
  const { effectiveLimits, load, log } = parts;
  const queued = new UsageCounter({
    count: (ownerId, atMost) => load.unfinished(ownerId, atMost),
    log,
  });
  const spent: Spent = {
    day: new UsageCounter({ count: (ownerId) => load.spent(ownerId, "day"), log }),
    month: new UsageCounter({ count: (ownerId) => load.spent(ownerId, "month"), log }),
  };
  const total = sharedRead((ownerId) => load.stored(ownerId));
  const stored: Stored = {
    bytes: new UsageCounter({ count: async (ownerId) => (await total(ownerId)).bytes, log }),
    files: new UsageCounter({ count: async (ownerId) => (await total(ownerId)).files, log }),
  };
  return {
    of: (caller) => effectiveLimits.of(caller),
    countCall: (caller) => countCall(parts, caller),
    reserveQueued: (caller) => reserveQueued(parts, queued, caller),
    reserveSpend: (caller, price) => reserveSpend(parts, spent, caller, price),
    checkStorage: (caller) => checkStorage(parts, stored, caller),
    countUploadBytes: (ownerId, bytes) => countUploadBytes(parts, ownerId, bytes),
  };
}

/** Counts a call by its owner's rate and by its key's. */
async function countCall({ effectiveLimits, quotas }: LimitParts, caller: Caller): Promise<void> {
  const { owner, key } = await effectiveLimits.of(caller);
  if (owner.requestsPerSecond === undefined && key.requestsPerSecond === undefined) return;
  const [byOwner, byKey] = await Promise.all([
    takeCall(quotas, { ownerId: caller.ownerId, name: "calls" }, owner),
    takeCall(quotas, { ownerId: caller.ownerId, name: `calls:${caller.keyId}` }, key),
  ]);
  if (!byOwner.ok) throw rateLimited("You", owner, byOwner.retryAfterMs);
  if (!byKey.ok) throw rateLimited("This key", key, byKey.retryAfterMs);
}

/** Takes one call from the steady part of a rate, else from its burst. */
async function takeCall(
  quotas: Quotas,
  { ownerId, name }: { ownerId: string; name: string },
  { requestsPerSecond, burst = 0 }: Rate,
): Promise<QuotaDecision> {
  if (requestsPerSecond === undefined) return { ok: true };
  const steady = await quotas.take({ ownerId, name, ...rateWindow(requestsPerSecond) }, 1);
  if (steady.ok || burst === 0) return steady;
  // The burst comes back at the steady pace: all of it after as long as that takes.
  const windowSeconds = Math.max(1, Math.ceil(burst / requestsPerSecond));
  const beyond = await quotas.take({ ownerId, name: `${name}:burst`, limit: burst, windowSeconds }, 1);
  return beyond.ok ? beyond : steady;
}

function rateLimited(who: string, { requestsPerSecond }: Rate, retryAfterMs: number): TemperaError {
  const seconds = (retryAfterMs / 1000).toFixed(1);
  const message = `${who} may make ${requestsPerSecond} calls a second. Try again in ${seconds} s.`;
  return new TemperaError("rate_limited", message, { retryAfterMs });
}

async function reserveQueued(
  { effectiveLimits }: LimitParts,
  queued: UsageCounter,
  caller: Caller,
): Promise<Reservation | undefined> {
  const { owner } = await effectiveLimits.of(caller);
  if (owner.queued === undefined) return undefined;
  const reservation = await queued.reserve(caller.ownerId, owner.queued);
  if (reservation) return reservation;
  throw new TemperaError(
    "queued_requests_limit",
    `You have ${owner.queued} requests in the queue, as many as you may. ` +
      "Try again when some of them have ended.",
  );
}

/** Prices of an owner's requests since midnight and since the first of the month, UTC. */
type Spent = Record<"day" | "month", UsageCounter>;

async function reserveSpend(
  { effectiveLimits }: LimitParts,
  spent: Spent,
  caller: Caller,
  price: Price | undefined,
): Promise<Reservation | undefined> {
  const { owner } = await effectiveLimits.of(caller);
  if (!price || price.unitPrice === 0) return undefined;
  const reservations = new Reservations();
  for (const [period, max] of [
    ["day", owner.spendPerDay] as const,
    ["month", owner.spendPerMonth] as const,
  ]) {
    if (max === undefined) continue;
    const reservation = await spent[period].reserve(caller.ownerId, max, price.unitPrice);
    if (!reservation) {
      reservations.release();
      throw spendExhausted(period, max, price.currency);
    }
    reservations.add(reservation);
  }
  return reservations;
}

function spendExhausted(period: "day" | "month", max: number, currency: string): TemperaError {
  const reset = period === "day" ? "tomorrow" : "on the first of next month";
  return new TemperaError(
    "spend_limit",
    `User is locked. Reason: Exhausted balance. You may spend ${max} ${currency} a ${period}; ` +
      `that is used up, or this request would exceed it. The limit resets ${reset} (UTC).`,
  );
}

/** Shares a read with those who ask for the same owner while it is under way: both counters do. */
function sharedRead<T>(read: (ownerId: string) => Promise<T>): (ownerId: string) => Promise<T> {
  const running = new Map<string, Promise<T>>();
  return (ownerId) => {
    const known = running.get(ownerId);
    if (known) return known;
    const reading = read(ownerId).finally(() => running.delete(ownerId));
    running.set(ownerId, reading);
    return reading;
  };
}

/** Counters of stored bytes and files. The stores themselves refuse what does not fit. */
type Stored = Record<keyof StoredTotal, UsageCounter>;

async function checkStorage({ effectiveLimits }: LimitParts, stored: Stored, caller: Caller): Promise<void> {
  const { storedBytes, storedFiles } = (await effectiveLimits.of(caller)).owner;
  for (const [unit, limit] of [["bytes", storedBytes] as const, ["files", storedFiles] as const]) {
    if (limit === undefined) continue;
    const room = await stored[unit].reserve(caller.ownerId, limit);
    if (!room) throw storageLimit({ unit, used: limit, limit });
    room.release();
  }
}

async function countUploadBytes(
  { effectiveLimits, quotas }: LimitParts,
  ownerId: string,
  bytes: number,
): Promise<() => void> {
  const { uploadBytesPerDay: limit } = (await effectiveLimits.of({ ownerId })).owner;
  if (limit === undefined || bytes === 0) return () => {};
  const quota = { ownerId, name: "upload", limit, windowSeconds: DAY_SECONDS };
  const taken = await quotas.take(quota, bytes);
  const giveBack = (): void => void quotas.refund(quota, bytes).catch(() => {});
  if (taken.ok) return giveBack;
  giveBack();
  throw new TemperaError(
    "upload_limit",
    `You may upload ${limit.toLocaleString("en-US")} bytes a day, and this file would exceed that. ` +
      `Try again in ${Math.ceil(taken.retryAfterMs / 60_000)} minutes.`,
    { retryAfterMs: taken.retryAfterMs },
  );
}
