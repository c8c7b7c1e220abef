/**
 * Retention is how long what a request leaves behind is kept. Each kind has a time of its own: the
 * installation's, unless the owner has another one, unless the request does. Nothing is shown once its time
 * has passed; the workflow `retention` deletes it soon after. Imported by workflow code: types and pure
 * functions only.
 */

/** In milliseconds; `null` is for ever. */
export interface RetentionTimes {
  /** The record of a request, its delivery and its dead letter, from its end. */
  requestMs: number | null;
  /** Its input and output, from its end; at most as long as its record. */
  payloadMs: number | null;
  /** Its log lines, from its end; at most as long as its record. */
  logMs: number | null;
  /** The files it produced, from when they are there, unless its caller said how long. */
  artifactMs: number | null;
  /** Uploaded files, from when they are there, unless their caller said how long. */
  uploadMs: number | null;
}

/** What an owner has instead of the installation's times; what is absent is the installation's. */
export type OwnTimes = Partial<RetentionTimes>;

/** Times of what belongs to no single owner. */
export interface SharedTimes {
  /** Entries of the usage ledger. */
  usageMs: number | null;
}

export interface RetentionPolicy extends RetentionTimes, SharedTimes {}

export const RETENTION_FIELDS = [
  "requestMs",
  "payloadMs",
  "logMs",
  "artifactMs",
  "uploadMs",
] as const satisfies (keyof RetentionTimes)[];

/** The times of one owner. */
export function timesOf(policy: RetentionTimes, own: OwnTimes = {}): RetentionTimes {
  const of = (field: keyof RetentionTimes): number | null =>
    own[field] === undefined ? policy[field] : own[field];
  const requestMs = of("requestMs");
  const within = (ms: number | null): number | null =>
    requestMs === null ? ms : ms === null ? requestMs : Math.min(ms, requestMs);
  return {
    requestMs,
    payloadMs: within(of("payloadMs")),
    logMs: within(of("logMs")),
    artifactMs: of("artifactMs"),
    uploadMs: of("uploadMs"),
  };
}

/**
 * The moment before which something must have ended for its time to have passed; `undefined` when it never
 * does.
 */
export const cutoff = (timeMs: number | null, nowMs: number): number | undefined =>
  timeMs === null ? undefined : nowMs - timeMs;

/** Whether the time of something that ended, or was there, at `sinceMs` has passed. */
export const hasPassed = (timeMs: number | null, sinceMs: number, nowMs: number): boolean =>
  timeMs !== null && sinceMs + timeMs <= nowMs;

/** What the sweep of the expired goes through, in this order: what names others before what is named. */
export const EXPIRED_KINDS = [
  "request",
  "payload",
  "log",
  "transient payload",
  "checkpoint",
  "cached result",
  "usage",
] as const;

/** What the sweep of orphans goes through: bytes that no record names, then records whose bytes are gone. */
export const ORPHAN_KINDS = ["artifact", "orphaned payload", "orphaned file", "file without bytes"] as const;

/** `file`: those with a lifecycle of their own, whose time may be seconds (`sweep-files.ts`). */
export type DeletedKind = (typeof EXPIRED_KINDS)[number] | (typeof ORPHAN_KINDS)[number] | "file";

/** `expired` deletes what has lived its time; `orphans` what nothing names. */
export type RetentionSweep = "expired" | "orphans";

/**
 * What a run of the workflow is given, and carries from step to step: where it is, and what it has deleted.
 */
export interface RetentionProgress {
  sweep: RetentionSweep;
  /** Place in the list of kinds. */
  kind: number;
  /** Within the kind: the owner, key or id that was looked at last. */
  after?: string;
  deleted: Partial<Record<DeletedKind, number>>;
  done?: boolean;
}

/** A sweep at its beginning. */
export const sweepFrom = (sweep: RetentionSweep): RetentionProgress => ({ sweep, kind: 0, deleted: {} });

/** A pause between batches, so that live work goes on: this many times as long as the batch took. */
export interface RetentionPace {
  /** Records of one batch. */
  batch: number;
  pauseFactor: number;
  pauseMsMin: number;
}

export const RETENTION_PACE: RetentionPace = { batch: 100, pauseFactor: 6, pauseMsMin: 20 };

export const KINDS_OF = { expired: EXPIRED_KINDS, orphans: ORPHAN_KINDS } as const satisfies Record<
  RetentionSweep,
  readonly DeletedKind[]
>;
