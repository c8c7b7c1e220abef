/**
 * The ledger: everything that clients and the webhook receiver saw, with the times at which they saw it.
 * Times are milliseconds of the one clock of this process.
 */
import { createHash } from "node:crypto";
import type { JobPlan } from "../load/plan.ts";

/** A call that submitted a job, or tried to. */
export interface SubmitCall {
  /** The number of the job. */
  job: number;
  /** Counts the calls of one job, from 0. Twins count together. */
  tryNumber: number;
  /** The first call of its client for this job. */
  isFirst: boolean;
  gateway: number;
  startMs: number;
  endMs: number;
  /** The HTTP status; absent when no answer came. */
  status?: number;
  /** The id in the header of the answer, whether the job was accepted or not. */
  requestId?: string;
  /** The error of the call, or the detail of a refusal. */
  reason?: string;
}

/** The meaning of one answer about a request. */
export type Seen =
  /** It waits or runs. */
  | "unfinished"
  /** It has ended. */
  | "ended"
  /** There is no such request. */
  | "unknown"
  /** The platform, or its answer, was unavailable. */
  | "unavailable"
  /** An answer that the platform must not give. */
  | "odd";

/** One reading of a request. */
export interface Read {
  requestId: string;
  by: "status" | "result" | "stream" | "webhook";
  /** The number of the gateway; -1 for a webhook. */
  gateway: number;
  startMs: number;
  endMs: number;
  seen: Seen;
  status?: number;
  /** The error code of an end, or `ok`. */
  end?: string;
  /** The digest of the result, whatever the order of its fields. */
  result?: string;
  /** The digest of the bytes of the result; a webhook has other bytes around it. */
  bytes?: string;
  reason?: string;
}

export interface WebhookArrival {
  job: number;
  tryNumber: number;
  atMs: number;
  requestId: string;
  isSigned: boolean;
  /** The digest of the whole body. */
  body: string;
}

/** A fault that was made, from its begin until the part was whole again. */
export interface FaultRecord {
  name: string;
  /** The kind of the part, as the limits name it. */
  target: string;
  beginMs: number;
  endMs: number;
  /** Another fault overlapped it. */
  overlapped: boolean;
  /** Milliseconds from the end until a probe's result was read; absent when no probe succeeded. */
  recoveryMs?: number;
  /** Milliseconds that the part took to start. */
  startMs?: number;
}

/** The digest of a file that an image job made. */
export interface ImageDigest {
  job: number;
  pair: string;
  digest: string;
}

export class Ledger {
  readonly jobs: JobPlan[] = [];
  readonly submits: SubmitCall[] = [];
  readonly reads: Read[] = [];
  readonly webhooks: WebhookArrival[] = [];
  readonly faults: FaultRecord[] = [];
  readonly images: ImageDigest[] = [];
  /** Parts that did not come back after a fault. */
  readonly lost: { atMs: number; text: string }[] = [];
  /** The ids with which each job was accepted, by the number of the job: one, unless something is wrong. */
  readonly accepted = new Map<number, Set<string>>();
  /** Jobs that their client asked to cancel, with a 202. */
  readonly cancelled = new Set<string>();

  accept(job: number, requestId: string): void {
    const ids = this.accepted.get(job) ?? new Set();
    this.accepted.set(job, ids.add(requestId));
  }
}

/** Digests a JSON value, whatever the order of its fields. Signatures do not count (`withoutSignatures`). */
export function digestOf(value: unknown): string {
  return hash(withoutSignatures(JSON.stringify(sorted(value)) ?? ""));
}

/**
 * Removes the signatures of private addresses, which each answer makes anew (docs/decisions/0037). A gateway
 * that starts while PostgreSQL is away does not know whose files are public, so it takes them for private.
 */
export function withoutSignatures(text: string): string {
  return text.replaceAll(/(\?identity=)\d+\.[\w-]+\.[\w-]+/g, "$1");
}

export function hash(bytes: string | Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex").slice(0, 32);
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([name, each]) => [name, sorted(each)]));
}
