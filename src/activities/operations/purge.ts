import { errorInfo, isTemperaError } from "../../core/errors/tempera-error.ts";
import type { ListedObject, ObjectStore } from "../../core/files/object-store.ts";
import { TRANSIENT_FOLDER } from "../../core/files/stored-value.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { Log } from "../../core/operations/log.ts";
import {
  cutoff,
  type DeletedKind,
  type RetentionPolicy,
  type RetentionTimes,
  timesOf,
} from "../../core/operations/retention.ts";
import type { PurgedRequest, RetentionStore } from "../../core/operations/retention-store.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import type { Jobs } from "../../core/requests/jobs.ts";
import type { LogSearch } from "../../core/requests/log-search.ts";

export interface PurgeDependencies {
  retention: RetentionStore;
  objects: Pick<ObjectStore, "list" | "delete" | "head">;
  /** What is deleted from a record is forgotten here too. */
  events: Pick<EventLog, "drop">;
  /** And here, where the outcome of a small request lies in its workflow's history. */
  jobs: Pick<Jobs, "describe" | "forget">;
  /** And where log lines are searched, when that is not the record itself. */
  logSearch: Pick<LogSearch, "remove">;
  files: { remove(fileIds: string[]): Promise<void> };
  policy: RetentionPolicy;
  clock: Clock;
  log: Log;
}

export interface PurgedBatch {
  deleted: number;
  /** Where the next batch goes on. */
  after?: string | undefined;
  /** Nothing more of this kind. */
  through: boolean;
}

/** Owners looked at in one batch, when most have nothing to delete. */
const OWNERS = 50;

type Retire = (deps: PurgeDependencies, after: string | undefined, limit: number) => Promise<PurgedBatch>;

/**
 * How each kind is deleted. Bytes go before the record that names them: a sweep that dies in between finds
 * the record again.
 */
const RETIRE: Record<Exclude<DeletedKind, "file">, Retire> = {
  request: ofOwners("requestMs", async (deps, ownerId, beforeMs, limit) => {
    const ended = await deps.retention.endedRequests(ownerId, beforeMs, limit);
    if (ended.length === 0) return 0;
    await deleteBytes(deps, ended);
    await forget(deps, ended);
    await deps.logSearch.remove(ended.map(({ requestId }) => requestId));
    await deps.retention.deleteRequests(ended.map(({ requestId }) => requestId));
    return ended.length;
  }),

  payload: ofOwners("payloadMs", async (deps, ownerId, beforeMs, limit) => {
    const ended = await deps.retention.endedPayloads(ownerId, beforeMs, limit);
    if (ended.length === 0) return 0;
    await deleteBytes(deps, ended);
    await forget(deps, ended);
    await deps.retention.deletePayloads(
      ended.map(({ requestId }) => requestId),
      deps.clock.nowMs(),
    );
    return ended.length;
  }),

  log: ofOwners("logMs", async ({ retention, logSearch }, ownerId, beforeMs, limit) => {
    const ended = await retention.endedLogs(ownerId, beforeMs, limit);
    if (ended.length === 0) return 0;
    // First where they are found: a sweep that dies in between, or a search that is away, finds the record
    // again.
    await logSearch.remove(ended);
    await retention.deleteLogs(ended);
    return ended.length;
  }),

  "transient payload": ofObjects(
    "transient payload",
    TRANSIENT_FOLDER,
    () => LIMITS.unstoredOutputMs,
    async (deps, objects) => {
      const pending = await deps.retention.undelivered([...new Set(objects.flatMap(requestOf))]);
      const ended = await endedOf(deps, objects);
      // Its webhook carries the output: that is the delivery it is kept for.
      return objects.filter((object) => requestOf(object).every((id) => ended.has(id) && !pending.has(id)));
    },
  ),

  checkpoint: ofObjects(
    "checkpoint",
    "checkpoints/",
    () => LIMITS.checkpointAgeMs,
    async (deps, objects) => {
      const ended = await endedOf(deps, objects);
      return objects.filter((object) => requestOf(object).every((id) => ended.has(id)));
    },
  ),

  "cached result": async ({ retention, clock }, _, limit) => {
    const deleted = await retention.deleteCachedResults(clock.nowMs(), limit);
    return { deleted, through: deleted < limit };
  },

  usage: async ({ retention, policy, clock }, _, limit) => {
    const beforeMs = cutoff(policy.usageMs, clock.nowMs());
    const deleted = beforeMs === undefined ? 0 : await retention.deleteUsage(beforeMs, limit);
    return { deleted, through: deleted < limit };
  },

  // Files without a record, made while artifacts had no time: since they have one, each has a record
  // (`artifact-sink.ts`).
  artifact: ofObjects(
    "artifact",
    "artifacts/",
    ({ policy }) => policy.artifactMs,
    async ({ retention }, objects) => {
      const used = await retention.artifactsInUse(objects.map(({ key }) => key));
      return objects.filter(({ key }) => !used.has(key));
    },
  ),

  "orphaned payload": inFolders(["inputs/", "outcomes/"], (folder) =>
    ofObjects(
      "orphaned payload",
      folder,
      () => LIMITS.orphanAgeMs,
      async (deps, objects) => {
        const named = await deps.retention.named(objects.map(({ key }) => key));
        const unnamed = objects.filter(({ key }) => !named.has(key));
        // The row of a request that waits may not have been written: its finish step will.
        const ended = await endedOf(deps, unnamed);
        return unnamed.filter((object) => requestOf(object).every((id) => ended.has(id)));
      },
    ),
  ),

  "orphaned file": ofObjects(
    "orphaned file",
    "files/",
    () => LIMITS.orphanAgeMs,
    async ({ retention }, objects) => {
      const standing = await retention.fileKeys(objects.map(({ key }) => key));
      return objects.filter(({ key }) => !standing.has(key));
    },
  ),

  "file without bytes": async ({ retention, objects, files, log }, after, limit) => {
    const page = await retention.storedFiles(after, limit);
    const missing: string[] = [];
    for (const { fileId, objectKey } of page) if (!(await objects.head(objectKey))) missing.push(fileId);
    // Bytes are lost one by one. Where most are missing it is another bucket or an empty disk, and the files
    // are somewhere.
    if (page.length > 1 && missing.length > page.length / 2) {
      log.error(
        { missing: missing.length, of: page.length },
        "most files are not in the object store: is it the right one? Their records stay",
      );
      missing.length = 0;
    }
    await files.remove(missing);
    await retention.count("file without bytes", missing.length);
    return { deleted: missing.length, after: page.at(-1)?.fileId, through: page.length < limit };
  },
};

/** Deletes the next batch of a kind: at most `limit` of it. */
export const purgeBatch = (
  deps: PurgeDependencies,
  kind: DeletedKind,
  after: string | undefined,
  limit: number,
): Promise<PurgedBatch> => RETIRE[kind as Exclude<DeletedKind, "file">](deps, after, limit);

/** What each owner has a time for. `after` is the owner before the one whose turn it is. */
function ofOwners(
  time: keyof RetentionTimes,
  retire: (deps: PurgeDependencies, ownerId: string, beforeMs: number, limit: number) => Promise<number>,
): Retire {
  return async (deps, after, limit) => {
    const { retention, policy, clock } = deps;
    const own = await retention.ownTimes();
    const owners = await retention.owners(after, OWNERS);
    let done = after;
    for (const ownerId of owners) {
      const beforeMs = cutoff(timesOf(policy, own.get(ownerId))[time], clock.nowMs());
      const deleted = beforeMs === undefined ? 0 : await retire(deps, ownerId, beforeMs, limit);
      // The owner's turn goes on until nothing of it is left: a batch that is not full can be rivals' work.
      if (deleted > 0) return { deleted, after: done, through: false };
      done = ownerId;
    }
    return { deleted: 0, after: done, through: owners.length < OWNERS };
  };
}

/**
 * Objects of a folder that were put longer ago than `ageMs` (`null`: none are), of which `select` says what
 * goes.
 */
function ofObjects(
  kind: DeletedKind,
  folder: string,
  ageMs: (deps: PurgeDependencies) => number | null,
  select: (deps: PurgeDependencies, objects: ListedObject[]) => Promise<ListedObject[]>,
): Retire {
  return async (deps, after, limit) => {
    const { objects, retention, clock } = deps;
    const age = ageMs(deps);
    if (age === null) return { deleted: 0, through: true };
    const page = await objects.list(folder, after, limit);
    const old = page.filter(({ modifiedAtMs }) => modifiedAtMs + age <= clock.nowMs());
    const chosen = old.length === 0 ? [] : await select(deps, old);
    for (const { key } of chosen) await objects.delete(key);
    await retention.count(kind, chosen.length);
    return { deleted: chosen.length, after: page.at(-1)?.key, through: page.length < limit };
  };
}

/** One folder after the other. A key begins with its folder, so `after` says which one it is. */
function inFolders(folders: string[], retireIn: (folder: string) => Retire): Retire {
  return async (deps, after, limit) => {
    const at = after === undefined ? 0 : folders.findIndex((folder) => after.startsWith(folder));
    const folder = folders[at];
    if (folder === undefined) return { deleted: 0, through: true };
    const batch = await retireIn(folder)(deps, after === folder ? undefined : after, limit);
    const next = folders[at + 1];
    return batch.through && next !== undefined ? { ...batch, after: next, through: false } : batch;
  };
}

const UUID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/;

/** The request that a key is named after. Keys that name none are nobody's. */
const requestOf = ({ key }: { key: string }): string[] => UUID.exec(key)?.slice(0, 1) ?? [];

/**
 * Of the requests that these objects are named after, those that have ended, or that nobody knows any more.
 */
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

async function deleteBytes({ objects }: PurgeDependencies, requests: PurgedRequest[]): Promise<void> {
  for (const key of new Set(requests.flatMap(({ refs }) => refs))) await objects.delete(key);
}

/**
 * Deletes what other stores still hold of requests that ended not long ago: an input and an output are in
 * each of them.
 */
async function forget(
  { events, jobs, clock, log }: PurgeDependencies,
  requests: PurgedRequest[],
): Promise<void> {
  const sinceMs = clock.nowMs() - LIMITS.retentionEchoMs;
  for (const request of requests) {
    if (request.endedAtMs < sinceMs) continue;
    await jobs.forget(request.requestId);
    // The event log may be away; it forgets by itself within a day.
    await events.drop(request).catch((error) => {
      if (!isTemperaError(error)) throw error;
      log.debug(
        { requestId: request.requestId, err: errorInfo(error) },
        "the event log did not drop a request that was deleted",
      );
    });
  }
}
