/**
 * A published version is a model version that was pushed while the platform runs: its manifest and schemas
 * stand in Postgres, its weights in the object store by content. What it is never changes; only its state
 * does.
 */
import type { ModelVersion } from "./model.ts";

/**
 * - `enabled`   takes requests, as far as the newest version or a rollout says so
 * - `disabled`  takes no new ones; those that run on it finish, then GPU workers drop it
 * - `removed`   the same, for good: it is no longer offered to be enabled, and its number stays taken
 */
export type VersionState = "enabled" | "disabled" | "removed";

/** One weight file of a version. */
export interface WeightFile {
  /** Relative to the package. */
  path: string;
  sha256: string;
  bytes: number;
  /** Where its bytes are in the object store. */
  objectKey: string;
}

/**
 * A model version as it travels: without the folder that its weights have on one machine, and without when it
 * was published.
 */
export type VersionContent = Omit<ModelVersion, "folder" | "publishedAtMs">;

/** What changes about a published version, and who it is. */
export interface PublishedHead {
  endpoint: string;
  version: string;
  digest: string;
  state: VersionState;
  /** Key that pushed it. */
  pushedBy: string;
  pushedAtMs: number;
  changedAtMs: number;
  /** Another one after each change: whoever changes it says which one was read. */
  revision: number;
}

export interface PublishedVersion extends PublishedHead {
  model: VersionContent;
  files: WeightFile[];
}

/** Sorts versions `1.10.0`, `1.9.3`, …: newest first. */
export function newestFirst(a: string, b: string): number {
  const [x, y] = [a, b].map((version) => version.split(".").map(Number)) as [number[], number[]];
  for (let i = 0; i < 3; i++) if (x[i] !== y[i]) return (y[i] ?? 0) - (x[i] ?? 0);
  return 0;
}
