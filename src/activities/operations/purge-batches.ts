/** The ways to find a batch of expired or orphaned data: by owner, by folder of the object store. */
import { deleteCounted } from "../../core/files/counted-object.ts";
import type { FileStore } from "../../core/files/file-store.ts";
import type { ListedObject, ObjectStore } from "../../core/files/object-store.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { Log } from "../../core/operations/log.ts";
import {
  cutoff,
  type DeletedKind,
  type RetentionPolicy,
  type RetentionTimes,
  timesOf,
} from "../../core/operations/retention.ts";
import type { RetentionStore } from "../../core/operations/retention-store.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import type { Jobs } from "../../core/requests/jobs.ts";
import type { LogSearch } from "../../core/requests/log-search.ts";

export interface PurgeDependencies {
  retention: RetentionStore;
  objects: Pick<ObjectStore, "list" | "delete" | "head">;
  /** Holds copies of the inputs and outputs of recent requests. */
  events: Pick<EventLog, "drop">;
  /** Workflow histories: they hold the outcomes of small requests. */
  jobs: Pick<Jobs, "describe" | "forget">;
  /** The index of log lines, where it is not the record itself. */
  logSearch: Pick<LogSearch, "remove">;
  files: Pick<FileStore, "remove" | "uncountObjects" | "uncheckedObjects" | "markChecked">;
  policy: RetentionPolicy;
  clock: Clock;
  log: Log;
}

export interface PurgedBatch {
  deleted: number;
  /** The cursor of the next batch. */
  after?: string | undefined;
  /** Nothing more of this kind is left. */
  done: boolean;
}

/**
 * Deletes the next batch of one kind, from the cursor `after` on. `limit` bounds what is deleted, or looked
 * at where most of it stays.
 */
export type Purge = (
  dependencies: PurgeDependencies,
  after: string | undefined,
  limit: number,
) => Promise<PurgedBatch>;

/** Owners that one batch looks at, when most have nothing to delete. */
const OWNERS_PER_BATCH = 50;

/**
 * A purge of data that each owner has a retention time for. `purge` deletes what one owner has from before a
 * moment, and returns how much. The cursor is the last owner that has nothing left.
 */
export function ofOwners(
  time: keyof RetentionTimes,
  purge: (
    dependencies: PurgeDependencies,
    ownerId: string,
    beforeMs: number,
    limit: number,
  ) => Promise<number>,
): Purge {
  return async (dependencies, after, limit) => {
    const { retention, policy, clock } = dependencies;
    const ownerTimes = await retention.ownerTimes();
    const owners = await retention.owners(after, OWNERS_PER_BATCH);
    let cursor = after;
    for (const ownerId of owners) {
      const beforeMs = cutoff(timesOf(policy, ownerTimes.get(ownerId))[time], clock.nowMs());
      const deleted = beforeMs === undefined ? 0 : await purge(dependencies, ownerId, beforeMs, limit);
      // An owner is finished when nothing is left: a batch that is not full may be the work of another
      // process.
      if (deleted > 0) return { deleted, after: cursor, done: false };
      cursor = ownerId;
    }
    return { deleted: 0, after: cursor, done: owners.length < OWNERS_PER_BATCH };
  };
}

/**
 * A purge of the objects in a folder that are older than `ageMs` (`null`: no object is). `select` returns
 * those of a page that are deleted. The cursor is a key.
 */
export function ofObjects({
  kind,
  folder,
  ageMs,
  select,
}: {
  kind: DeletedKind;
  folder: string;
  ageMs: (dependencies: PurgeDependencies) => number | null;
  select: (dependencies: PurgeDependencies, objects: ListedObject[]) => Promise<ListedObject[]>;
}): Purge {
  return async (dependencies, after, limit) => {
    const { objects, retention, clock } = dependencies;
    const age = ageMs(dependencies);
    if (age === null) return { deleted: 0, done: true };
    const page = await objects.list(folder, after, limit);
    const old = page.filter(({ modifiedAtMs }) => modifiedAtMs + age <= clock.nowMs());
    const selected = old.length === 0 ? [] : await select(dependencies, old);
    await deleteCounted(
      dependencies,
      selected.map(({ key }) => key),
    );
    await retention.count(kind, selected.length);
    return { deleted: selected.length, after: page.at(-1)?.key, done: page.length < limit };
  };
}

/** A purge of one folder after the other. A key begins with its folder, so the cursor names the folder. */
export function inFolders(folders: string[], purgeIn: (folder: string) => Purge): Purge {
  return async (dependencies, after, limit) => {
    const index = after === undefined ? 0 : folders.findIndex((folder) => after.startsWith(folder));
    const folder = folders[index];
    if (folder === undefined) return { deleted: 0, done: true };
    const batch = await purgeIn(folder)(dependencies, after === folder ? undefined : after, limit);
    const next = folders[index + 1];
    return batch.done && next !== undefined ? { ...batch, after: next, done: false } : batch;
  };
}
