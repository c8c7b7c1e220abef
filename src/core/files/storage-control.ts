import type { Acl, Lifecycle } from "./lifecycle.ts";

/** What several people may change at once, with the number that grows with each change. */
export interface Revised<T> {
  value: T;
  revision: number;
}

/**
 * Who may read files that are there, and what an owner's new files get when nothing else is said. Changes
 * name the revision they were decided upon (`undefined`: whatever it is) and throw `precondition_failed` when
 * it is no longer the current one. Every method rejects with `store_unavailable` when Postgres cannot be
 * reached.
 */
export interface StorageControl {
  /** `undefined`: there is no such file. */
  aclOf(fileId: string): Promise<Revised<{ ownerId: string; acl: Acl | undefined }> | undefined>;
  setAcl(fileId: string, acl: Acl, revision: number | undefined): Promise<Revised<Acl>>;
  /** Revision 0: nothing was ever said. */
  defaultsOf(ownerId: string): Promise<Revised<Lifecycle>>;
  setDefaults(
    ownerId: string,
    defaults: Lifecycle,
    revision: number | undefined,
  ): Promise<Revised<Lifecycle>>;
  /** Of every owner that has some. */
  allDefaults(): Promise<Map<string, Lifecycle>>;
  /** Calls `listener` when some owner's have changed. Returns how to stop. */
  onChange(listener: () => void): Promise<() => Promise<void>>;
}
