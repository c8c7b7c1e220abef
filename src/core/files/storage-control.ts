import type { Acl, Lifecycle } from "./lifecycle.ts";

/** A value that several people may change, with a revision that grows with each change. */
export interface Revised<T> {
  value: T;
  revision: number;
}

/**
 * Storage control has the access lists of stored files, and the default lifecycle of each owner's new files.
 * A change names the revision that it was decided on (`undefined`: any) and rejects with
 * `precondition_failed` when that is no longer current. Every method rejects with `store_unavailable` when
 * PostgreSQL cannot be reached.
 */
export interface StorageControl {
  /** Returns `undefined` when there is no such file. */
  aclOf(fileId: string): Promise<Revised<{ ownerId: string; acl: Acl | undefined }> | undefined>;
  setAcl(fileId: string, acl: Acl, revision: number | undefined): Promise<Revised<Acl>>;
  /** Revision 0: the owner never had defaults. */
  defaultsOf(ownerId: string): Promise<Revised<Lifecycle>>;
  setDefaults(
    ownerId: string,
    defaults: Lifecycle,
    revision: number | undefined,
  ): Promise<Revised<Lifecycle>>;
  /** Returns the defaults of every owner that has some. */
  allDefaults(): Promise<Map<string, Lifecycle>>;
  /** Calls `listener` when the defaults of some owner have changed. Returns how to stop. */
  onChange(listener: () => void): Promise<() => Promise<void>>;
}
