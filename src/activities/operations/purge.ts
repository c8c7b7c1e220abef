/**
 * The purge of each kind of data that retention deletes (docs/retention.md). Bytes are deleted before the
 * record that names them: a sweep that dies in between finds the record again.
 */
import { errorInfo, isTemperaError } from "../../core/errors/tempera-error.ts";
import { deleteCounted } from "../../core/files/counted-object.ts";
import type { ListedObject } from "../../core/files/object-store.ts";
import { TRANSIENT_FOLDER } from "../../core/files/transient.ts";
import { LIMITS } from "../../core/limits.ts";
import { cutoff, type DeletedKind } from "../../core/operations/retention.ts";
import type { PurgedRequest } from "../../core/operations/retention-store.ts";
import {
  inFolders,
  ofObjects,
  ofOwners,
  type Purge,
  type PurgeDependencies,
  type PurgedBatch,
} from "./purge-batches.ts";

/** Files expire by their own lifecycle; `src/maintenance/sweep-files.ts` deletes them. */
type SweptKind = Exclude<DeletedKind, "file">;

const purgeRequests = ofOwners("requestMs", async (dependencies, ownerId, beforeMs, limit) => {
  const { retention, logSearch } = dependencies;
  const ended = await retention.endedRequests(ownerId, beforeMs, limit);
  if (ended.length === 0) return 0;
  await deleteBytes(dependencies, ended);
  await deleteCopies(dependencies, ended);
  await logSearch.remove(idsOf(ended));
  await retention.deleteRequests(idsOf(ended));
  return ended.length;
});

const purgePayloads = ofOwners("payloadMs", async (dependencies, ownerId, beforeMs, limit) => {
  const { retention, clock } = dependencies;
  const ended = await retention.endedPayloads(ownerId, beforeMs, limit);
  if (ended.length === 0) return 0;
  await deleteBytes(dependencies, ended);
  await deleteCopies(dependencies, ended);
  await retention.deletePayloads(idsOf(ended), clock.nowMs());
  return ended.length;
});

const purgeLogs = ofOwners("logMs", async ({ retention, logSearch }, ownerId, beforeMs, limit) => {
  const ended = await retention.endedLogs(ownerId, beforeMs, limit);
  if (ended.length === 0) return 0;
  // The index goes first: a sweep that dies in between finds the record again.
  await logSearch.remove(ended);
  await retention.deleteLogs(ended);
  return ended.length;
});

const purgeTransientPayloads = ofObjects({
  kind: "transient payload",
  folder: TRANSIENT_FOLDER,
  ageMs: () => LIMITS.unstoredOutputMs,
  select: async (dependencies, objects) => {
    const requestIds = [...new Set(objects.flatMap(requestOf))];
    // An output is needed until its webhook, which carries it, is delivered.
    const undelivered = await dependencies.retention.undelivered(requestIds);
    const ended = await endedOf(dependencies, objects);
    return objects.filter((object) => requestOf(object).every((id) => ended.has(id) && !undelivered.has(id)));
  },
});

const purgeCheckpoints = ofObjects({
  kind: "checkpoint",
  folder: "checkpoints/",
  ageMs: () => LIMITS.checkpointAgeMs,
  select: async (dependencies, objects) => {
    const ended = await endedOf(dependencies, objects);
    return objects.filter((object) => requestOf(object).every((id) => ended.has(id)));
  },
});

const purgeCachedResults: Purge = async ({ retention, clock }, _, limit) => {
  const deleted = await retention.deleteCachedResults(clock.nowMs(), limit);
  return { deleted, done: deleted < limit };
};

const purgeUsage: Purge = async ({ retention, policy, clock }, _, limit) => {
  const beforeMs = cutoff(policy.usageMs, clock.nowMs());
  const deleted = beforeMs === undefined ? 0 : await retention.deleteUsage(beforeMs, limit);
  return { deleted, done: deleted < limit };
};

/**
 * Artifacts without a record, from before `artifacts` had a retention time: since then, each produced file
 * has a record (`artifact-sink.ts`).
 */
const purgeArtifacts = ofObjects({
  kind: "artifact",
  folder: "artifacts/",
  ageMs: ({ policy }) => policy.artifactMs,
  select: async ({ retention }, objects) => {
    const used = await retention.artifactsInUse(objects.map(({ key }) => key));
    return objects.filter(({ key }) => !used.has(key));
  },
});

const purgeOrphanedPayloads = inFolders(["inputs/", "outcomes/"], (folder) =>
  ofObjects({
    kind: "orphaned payload",
    folder,
    ageMs: () => LIMITS.orphanAgeMs,
    select: async (dependencies, objects) => {
      const named = await dependencies.retention.named(objects.map(({ key }) => key));
      const unnamed = objects.filter(({ key }) => !named.has(key));
      // The row of a waiting request may not be written yet: its finish step writes it.
      const ended = await endedOf(dependencies, unnamed);
      return unnamed.filter((object) => requestOf(object).every((id) => ended.has(id)));
    },
  }),
);

const purgeOrphanedFiles = ofObjects({
  kind: "orphaned file",
  folder: "files/",
  ageMs: () => LIMITS.orphanAgeMs,
  select: async ({ retention }, objects) => {
    const recorded = await retention.fileKeys(objects.map(({ key }) => key));
    return objects.filter(({ key }) => !recorded.has(key));
  },
});

/**
 * Finds the records whose object is missing. Bytes are lost one by one: when most are missing, this is the
 * wrong bucket or an empty disk, the objects exist somewhere else, and no record is said to be without bytes.
 */
async function withoutBytes<T>(
  { objects, log }: Pick<PurgeDependencies, "objects" | "log">,
  records: T[],
  keyOf: (record: T) => string,
): Promise<T[]> {
  const missing: T[] = [];
  for (const record of records) if (!(await objects.head(keyOf(record)))) missing.push(record);
  if (records.length <= 1 || missing.length <= records.length / 2) return missing;
  log.error(
    { missing: missing.length, of: records.length },
    "most files are missing in the object store, so their records are kept; is it the right store?",
  );
  return [];
}

const purgeFilesWithoutBytes: Purge = async (dependencies, after, limit) => {
  const { retention, files } = dependencies;
  const page = await retention.storedFiles(after, limit);
  const found = await withoutBytes(dependencies, page, ({ objectKey }) => objectKey);
  const missing = found.map(({ fileId }) => fileId);
  await files.remove(missing);
  await retention.count("file without bytes", missing.length);
  return { deleted: missing.length, after: page.at(-1)?.fileId, done: page.length < limit };
};

/** Objects that count for an owner though they were never stored, or were deleted by an earlier release. */
const purgeCountsWithoutBytes: Purge = async (dependencies, _, limit) => {
  const { retention, files } = dependencies;
  const page = await files.uncheckedObjects(limit);
  const missing = await withoutBytes(dependencies, page, (key) => key);
  await files.uncountObjects(missing);
  await files.markChecked(page);
  await retention.count("count without bytes", missing.length);
  return { deleted: missing.length, done: page.length < limit };
};

const PURGES: Record<SweptKind, Purge> = {
  request: purgeRequests,
  payload: purgePayloads,
  log: purgeLogs,
  "transient payload": purgeTransientPayloads,
  checkpoint: purgeCheckpoints,
  "cached result": purgeCachedResults,
  usage: purgeUsage,
  artifact: purgeArtifacts,
  "orphaned payload": purgeOrphanedPayloads,
  "orphaned file": purgeOrphanedFiles,
  "file without bytes": purgeFilesWithoutBytes,
  "count without bytes": purgeCountsWithoutBytes,
};

/** Deletes the next batch of a kind, at most `limit` items. */
export function purgeBatch(
  dependencies: PurgeDependencies,
  kind: DeletedKind,
  after: string | undefined,
  limit: number,
): Promise<PurgedBatch> {
  return PURGES[kind as SweptKind](dependencies, after, limit);
}

const idsOf = (requests: PurgedRequest[]): string[] => requests.map(({ requestId }) => requestId);

const UUID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/;

/** Returns the request that a key is named after; none for a key without a request id. */
function requestOf({ key }: { key: string }): string[] {
  return UUID.exec(key)?.slice(0, 1) ?? [];
}

/** Returns those of the objects' requests that have ended or are unknown. */
async function endedOf(
  { retention, jobs }: PurgeDependencies,
  objects: ListedObject[],
): Promise<Set<string>> {
  const ids = [...new Set(objects.flatMap(requestOf))];
  const recorded = await retention.recorded(ids);
  const ended = new Set<string>();
  for (const id of ids) {
    const known = recorded.get(id);
    if (known ? known.ended : ((await jobs.describe(id))?.state ?? "COMPLETED") === "COMPLETED")
      ended.add(id);
  }
  return ended;
}

async function deleteBytes(dependencies: PurgeDependencies, requests: PurgedRequest[]): Promise<void> {
  await deleteCounted(dependencies, [...new Set(requests.flatMap(({ refs }) => refs))]);
}

/** Deletes the copies of inputs and outputs that other stores hold for a while after a request has ended. */
async function deleteCopies(
  { events, jobs, clock, log }: PurgeDependencies,
  requests: PurgedRequest[],
): Promise<void> {
  const sinceMs = clock.nowMs() - LIMITS.retentionEchoMs;
  for (const request of requests) {
    if (request.endedAtMs < sinceMs) continue;
    await jobs.forget(request.requestId);
    // The event log may be unavailable; its entries expire within a day.
    await events.drop(request).catch((error) => {
      if (!isTemperaError(error)) throw error;
      log.debug(
        { requestId: request.requestId, err: errorInfo(error) },
        "the event log did not drop the events of a deleted request",
      );
    });
  }
}
