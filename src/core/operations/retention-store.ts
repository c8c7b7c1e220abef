import type { RequestIdentity } from "../requests/request.ts";
import type { DeletedKind, OwnerTimes } from "./retention.ts";

/** An ended request that is to be purged, with the objects that its record names. */
export interface PurgedRequest extends RequestIdentity {
  endedAtMs: number;
  /** Keys of objects that no other record names. */
  refs: string[];
}

export interface DeletedTotal {
  kind: DeletedKind;
  /** Number since the installation, and today. */
  items: number;
  itemsToday: number;
}

/**
 * Finds and deletes records for retention. Each deletion is counted in the same statement (`totals`). Every
 * method rejects with `store_unavailable` when PostgreSQL cannot be reached.
 */
export interface RetentionStore {
  /** Returns the store's time of day. */
  nowMs(): Promise<number>;
  /** Returns the retention times that owners have instead of the installation's. */
  ownerTimes(): Promise<Map<string, OwnerTimes>>;
  /** Sets an owner's times; `undefined` restores the installation's. */
  setOwnerTimes(ownerId: string, times: OwnerTimes | undefined): Promise<void>;
  /** Calls `listener` when the times of some owner have changed. Returns how to stop. */
  onChange(listener: () => void): Promise<() => Promise<void>>;

  /** Lists owners that have requests, by name, those after `after`. */
  owners(after: string | undefined, limit: number): Promise<string[]>;

  /** Lists an owner's requests that ended before a moment, oldest first. */
  endedRequests(ownerId: string, beforeMs: number, limit: number): Promise<PurgedRequest[]>;
  /**
   * Deletes the records of requests and all that depends on them. Their objects must have been deleted
   * before. Returns the number of records.
   */
  deleteRequests(requestIds: string[]): Promise<number>;

  /** Lists an owner's requests that ended before a moment and still have input and output, oldest first. */
  endedPayloads(ownerId: string, beforeMs: number, limit: number): Promise<PurgedRequest[]>;
  /**
   * Deletes input and output from records. Their objects must have been deleted before. Returns the number of
   * records.
   */
  deletePayloads(requestIds: string[], nowMs: number): Promise<number>;

  /** Lists an owner's requests that ended before a moment and still have log lines, oldest first. */
  endedLogs(ownerId: string, beforeMs: number, limit: number): Promise<string[]>;
  /** Deletes log lines from records. No search may still find them. Returns the number of records. */
  deleteLogs(requestIds: string[]): Promise<number>;

  deleteUsage(beforeMs: number, limit: number): Promise<number>;
  /** Deletes expired results of pipeline nodes. Returns their number. */
  deleteCachedResults(nowMs: number, limit: number): Promise<number>;

  /** Returns those of the keys that a stored node result names, or a record of any other request. */
  named(keys: string[], requestIds?: string[]): Promise<Set<string>>;
  /** Returns those of the artifacts that a stored node result or the input of an unfinished request names. */
  artifactsInUse(keys: string[]): Promise<Set<string>>;
  /** Returns those of the requests that have a record, and whether they have ended. */
  recorded(requestIds: string[]): Promise<Map<string, { ended: boolean }>>;
  /**
   * Returns those of the requests whose webhook is still being delivered or was not tried yet, and those that
   * are nodes of running pipelines.
   */
  undelivered(requestIds: string[]): Promise<Set<string>>;

  /** Lists stored files by id, those after `after`. */
  storedFiles(after: string | undefined, limit: number): Promise<{ fileId: string; objectKey: string }[]>;
  /** Returns those of the keys that belong to a file, stored or being uploaded. */
  fileKeys(keys: string[]): Promise<Set<string>>;

  /** Counts deletions outside of the records. */
  count(kind: DeletedKind, items: number): Promise<void>;
  totals(): Promise<DeletedTotal[]>;
}
