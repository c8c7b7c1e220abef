import type { RequestIdentity } from "../requests/request.ts";
import type { DeletedKind, OwnTimes } from "./retention.ts";

/** A request that has ended, and the bytes that its record names. */
export interface PurgedRequest extends RequestIdentity {
  endedAtMs: number;
  /** Keys in the object store that no other record names. */
  refs: string[];
}

export interface DeletedTotal {
  kind: DeletedKind;
  /** Ever, and on this day. */
  items: number;
  itemsToday: number;
}

/**
 * What retention reads and deletes of the records. Deletions count themselves, in the same statement
 * (`totals`). Every method rejects with `store_unavailable` when Postgres cannot be reached.
 */
export interface RetentionStore {
  /** The time of day as the store has it. */
  nowMs(): Promise<number>;
  /** Times that owners have instead of the installation's. */
  ownTimes(): Promise<Map<string, OwnTimes>>;
  /** `undefined` gives the owner the installation's times again. */
  setOwnTimes(ownerId: string, times: OwnTimes | undefined): Promise<void>;
  /** Calls `listener` when some owner's times have changed, until the returned function is called. */
  onChange(listener: () => void): Promise<() => Promise<void>>;

  /** Owners that have requests, by name, from the one after `after` on. */
  owners(after: string | undefined, limit: number): Promise<string[]>;

  /** An owner's requests that ended before a moment, oldest first. */
  endedRequests(ownerId: string, beforeMs: number, limit: number): Promise<PurgedRequest[]>;
  /**
   * Deletes the records of requests with what hangs on them. Their bytes must be gone. Returns how many there
   * were.
   */
  deleteRequests(requestIds: string[]): Promise<number>;

  /**
   * An owner's requests that ended before a moment and whose input and output are still there, oldest first.
   */
  endedPayloads(ownerId: string, beforeMs: number, limit: number): Promise<PurgedRequest[]>;
  /** Takes input and output out of records. Their bytes must be gone. Returns how many there were. */
  deletePayloads(requestIds: string[], nowMs: number): Promise<number>;

  /** An owner's requests that ended before a moment and whose log lines are still there, oldest first. */
  endedLogs(ownerId: string, beforeMs: number, limit: number): Promise<string[]>;
  /**
   * Takes the log lines out of records. No search may still find them. Returns how many records there were.
   */
  deleteLogs(requestIds: string[]): Promise<number>;

  deleteUsage(beforeMs: number, limit: number): Promise<number>;
  /** Results of nodes whose time has passed; none where there are no pipelines. */
  deleteCachedResults(nowMs: number, limit: number): Promise<number>;

  /** Of these keys, those that a record, other than of these requests, or a kept result of a node names. */
  named(keys: string[], requestIds?: string[]): Promise<Set<string>>;
  /** Of these artifacts, those that the input of an unfinished request or a kept result of a node names. */
  artifactsInUse(keys: string[]): Promise<Set<string>>;
  /** Of these requests, those that are recorded, and whether they have ended. */
  recorded(requestIds: string[]): Promise<Map<string, { ended: boolean }>>;
  /**
   * Of these requests, those whose webhook is still on its way, or was not tried yet, and nodes of pipelines
   * under way.
   */
  undelivered(requestIds: string[]): Promise<Set<string>>;

  /** Files that are there, by id, from the one after `after` on. */
  storedFiles(after: string | undefined, limit: number): Promise<{ fileId: string; objectKey: string }[]>;
  /** Of these keys, those at which a file lies or is being put. */
  fileKeys(keys: string[]): Promise<Set<string>>;

  /** Counts what was deleted outside of the records. */
  count(kind: DeletedKind, items: number): Promise<void>;
  totals(): Promise<DeletedTotal[]>;
}
