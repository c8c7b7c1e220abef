/** A part of the registry that can change; each has a table of its own. */
export type RegistryPart = "versions" | "rollouts" | "flags";

/**
 * Announces changes of the registry. Every method rejects with `store_unavailable` when PostgreSQL cannot be
 * reached.
 */
export interface RegistryChanges {
  /** Returns a revision of each part, as a string that differs after each change of the part. */
  revisions(): Promise<Record<RegistryPart, string>>;
  /**
   * Calls `listener` for each change, at once; changes during a lost connection are missed. Returns how to
   * stop.
   */
  onChange(listener: () => void): Promise<() => Promise<void>>;
}
