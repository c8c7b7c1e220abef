import type { Flag } from "./flags.ts";

export type FlagName = Pick<Flag, "kind" | "name" | "ownerId">;

/** Stores the flags. Every method rejects with `store_unavailable` when PostgreSQL cannot be reached. */
export interface FlagStore {
  /** Lists all flags, by kind, name and owner. */
  list(): Promise<Flag[]>;
  /**
   * Sets a flag. Rejects with `precondition_failed` when its revision is no longer the given one.
   *
   * @param revision the revision that was read, 0 for none; absent: any
   */
  set(
    flag: FlagName & Pick<Flag, "share" | "changedBy">,
    revision?: number,
  ): Promise<{ before: Flag | undefined; after: Flag }>;
  /** Removes a flag and returns it, or `undefined` when there was none. Rejects as `set` does. */
  clear(flag: FlagName, revision?: number): Promise<Flag | undefined>;
}
