/**
 * Retention decides how long the data of a request is kept. Each kind of data has a retention time: the
 * installation's, unless the owner has another one, unless the request does. Data is not shown once its time
 * has passed; the workflow `retention` deletes it soon after. Workflow code imports this: types and pure
 * functions only.
 */

/** Retention times in milliseconds; `null` is for ever. */
export interface RetentionTimes {
  /** The record of a request, its delivery and its dead letter, from its end. */
  requestMs: number | null;
  /** Its input and output, from its end; at most as long as its record. */
  payloadMs: number | null;
  /** Its log lines, from its end; at most as long as its record. */
  logMs: number | null;
  /** The files it produced, from when they are stored, unless its caller gave a lifetime. */
  artifactMs: number | null;
  /** Uploaded files, from when they are stored, unless their caller gave a lifetime. */
  uploadMs: number | null;
}

/**
 * The times that an owner has instead of the installation's; for an absent one, the installation's counts.
 */
export type OwnerTimes = Partial<RetentionTimes>;

/** Retention times of data that belongs to no single owner. */
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

/** Computes the times of one owner. */
export function timesOf(policy: RetentionTimes, own: OwnerTimes = {}): RetentionTimes {
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

/** Returns the moment before which data must have ended for its time to have passed; `undefined`: never. */
export function cutoff(timeMs: number | null, nowMs: number): number | undefined {
  return timeMs === null ? undefined : nowMs - timeMs;
}

/** Tells whether the retention time of data that ended, or was stored, at `sinceMs` has passed. */
export function hasPassed(timeMs: number | null, sinceMs: number, nowMs: number): boolean {
  return timeMs !== null && sinceMs + timeMs <= nowMs;
}

/** The kinds that the sweep of expired data deletes, in this order: referring data before referred data. */
export const EXPIRED_KINDS = [
  "request",
  "payload",
  "log",
  "transient payload",
  "checkpoint",
  "cached result",
  "usage",
] as const;

/** The kinds that the sweep of orphans deletes: bytes without a record, then records without bytes. */
export const ORPHAN_KINDS = [
  "artifact",
  "orphaned payload",
  "orphaned file",
  "file without bytes",
  "count without bytes",
] as const;

/** `file`: files with a lifecycle of their own, whose lifetime may be seconds (`sweep-files.ts`). */
export type DeletedKind = (typeof EXPIRED_KINDS)[number] | (typeof ORPHAN_KINDS)[number] | "file";

/** `expired` deletes data whose time has passed; `orphans` deletes data that nothing refers to. */
export type RetentionSweep = "expired" | "orphans";

/** The state that a run of the workflow carries from step to step: its position, and its deletions. */
export interface RetentionProgress {
  sweep: RetentionSweep;
  /** Index in the list of kinds. */
  kind: number;
  /** Cursor within the kind: the owner, key or id that was processed last. */
  after?: string;
  deleted: Partial<Record<DeletedKind, number>>;
  done?: boolean;
}

/** Returns the state of a sweep at its beginning. */
export function sweepFrom(sweep: RetentionSweep): RetentionProgress {
  return { sweep, kind: 0, deleted: {} };
}

/** The pace of a sweep: it pauses between batches, so that it does not slow down live requests. */
export interface RetentionPace {
  /** Records of one batch. */
  batch: number;
  /** Length of the pause, as a multiple of the time that the batch took. */
  pauseFactor: number;
  pauseMsMin: number;
}

export const RETENTION_PACE: RetentionPace = { batch: 100, pauseFactor: 6, pauseMsMin: 20 };

export const KINDS_OF = { expired: EXPIRED_KINDS, orphans: ORPHAN_KINDS } as const satisfies Record<
  RetentionSweep,
  readonly DeletedKind[]
>;
