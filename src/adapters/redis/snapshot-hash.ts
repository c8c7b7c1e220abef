/** Snapshots as Redis hashes: one field per property; objects as JSON, numbers as decimals, text as it is. */
import { parseJson, writeJson } from "../../core/json/exact-json.ts";
import type { Snapshot } from "../../core/requests/events.ts";
import type { Priority, RequestState } from "../../core/requests/request.ts";

/** Returns `[field, value, …]` without absent properties. */
export function encodeSnapshot(part: Partial<Snapshot>): string[] {
  const fields: string[] = [];
  for (const [name, value] of Object.entries(part)) {
    if (value !== undefined) fields.push(name, typeof value === "object" ? writeJson(value) : String(value));
  }
  return fields;
}

/**
 * Returns `undefined` for the empty hash, Redis' reply for a missing key. It names each field, for speed: it
 * runs at each status poll.
 */
export function decodeSnapshot(hash: Record<string, string>): Snapshot | undefined {
  const { requestId, ownerId, endpoint, version, taskQueue, priority, state, attempt, queuedAtMs } = hash;
  if (
    requestId === undefined ||
    ownerId === undefined ||
    endpoint === undefined ||
    version === undefined ||
    taskQueue === undefined ||
    state === undefined
  )
    return undefined;
  const snapshot: Snapshot = {
    requestId,
    ownerId,
    endpoint,
    version,
    taskQueue,
    priority: priority as Priority,
    state: state as RequestState,
    attempt: Number(attempt),
    queuedAtMs: Number(queuedAtMs),
  };
  if (hash.node !== undefined) snapshot.node = parseJson<NonNullable<Snapshot["node"]>>(hash.node);
  if (hash.rerunOf !== undefined) snapshot.rerunOf = hash.rerunOf;
  if (hash.startedAtMs !== undefined) snapshot.startedAtMs = Number(hash.startedAtMs);
  if (hash.endedAtMs !== undefined) snapshot.endedAtMs = Number(hash.endedAtMs);
  if (hash.progress !== undefined)
    snapshot.progress = parseJson<NonNullable<Snapshot["progress"]>>(hash.progress);
  if (hash.error !== undefined) snapshot.error = parseJson<NonNullable<Snapshot["error"]>>(hash.error);
  if (hash.metrics !== undefined)
    snapshot.metrics = parseJson<NonNullable<Snapshot["metrics"]>>(hash.metrics);
  return snapshot;
}
