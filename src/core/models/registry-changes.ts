/** What can change: each is a table of its own. */
export type RegistryPart = "versions" | "rollouts" | "flags";

/**
 * Says that something of the registry has changed. Every method rejects with `store_unavailable` when
 * Postgres cannot be reached.
 */
export interface RegistryChanges {
  /** A text for each part, another one after each change of it. */
  marks(): Promise<Record<RegistryPart, string>>;
  /**
   * Calls `listener` as soon as the database says so; what changes while its connection is lost is not told.
   * Returns how to stop.
   */
  onChange(listener: () => void): Promise<() => Promise<void>>;
}
