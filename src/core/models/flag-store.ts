import type { Flag } from "./flags.ts";

export type FlagName = Pick<Flag, "kind" | "name" | "ownerId">;

/** The flags. Every method rejects with `store_unavailable` when Postgres cannot be reached. */
export interface FlagStore {
  /** All of them, by kind, name and owner. */
  list(): Promise<Flag[]>;
  /**
   * Sets a flag. Rejects with `precondition_failed` when it has another revision than the one that was read.
   *
   * @param revision the one that was read, 0 for none; absent: whatever it is
   */
  set(
    flag: FlagName & Pick<Flag, "share" | "changedBy">,
    revision?: number,
  ): Promise<{ before: Flag | undefined; after: Flag }>;
  /** Takes a flag away; what it was, or `undefined` when there was none. Rejects as `set` does. */
  clear(flag: FlagName, revision?: number): Promise<Flag | undefined>;
}
