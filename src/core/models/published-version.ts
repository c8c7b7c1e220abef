/**
 * A published version is a model version that was pushed while the platform runs: PostgreSQL has its manifest
 * and schemas, the object store its weights by content. Its content never changes; only its state does.
 */
import type { ModelVersion } from "./model.ts";

/**
 * - `enabled`   takes requests when it is the newest version, or by its share of a rollout
 * - `disabled`  takes no new requests; running ones finish, then GPU workers unload it
 * - `removed`   the same, permanently: it cannot be enabled, and its number stays taken
 */
export type VersionState = "enabled" | "disabled" | "removed";

/** One weight file of a version. */
export interface WeightFile {
  /** Path relative to the package. */
  path: string;
  sha256: string;
  bytes: number;
  /** Key of its bytes in the object store. */
  objectKey: string;
}

/**
 * The part of a model version that is the same everywhere: without its folder and its time of publication.
 */
export type VersionContent = Omit<ModelVersion, "folder" | "publishedAtMs">;

/** The text files of a package, by path. */
export const PACKAGE_TEXTS = ["model.yaml", "schemas/input.json", "schemas/output.json"] as const;

/** The texts of a package, without those that are missing. */
export type PackageTexts = Partial<Record<(typeof PACKAGE_TEXTS)[number], string>>;

/** A package as it was signed. Its content is read from these texts alone where signatures are required. */
export interface SignedPackage {
  texts: PackageTexts;
  /** The content of its signature file. */
  signature: string;
}

/** The identity and the changing state of a published version. */
export interface PublishedHead {
  endpoint: string;
  version: string;
  digest: string;
  state: VersionState;
  /** Id of the key that pushed it. */
  pushedBy: string;
  pushedAtMs: number;
  changedAtMs: number;
  /** Grows with each change; a change names the revision that it was decided on. */
  revision: number;
}

export interface PublishedVersion extends PublishedHead {
  model: VersionContent;
  files: WeightFile[];
  /** Absent: it was published without a signature. */
  signed?: SignedPackage;
}

/** Compares versions for sorting, newest first: `1.10.0`, `1.9.3`, … */
export function newestFirst(a: string, b: string): number {
  const [x, y] = [a, b].map((version) => version.split(".").map(Number)) as [number[], number[]];
  for (let i = 0; i < 3; i++) if (x[i] !== y[i]) return (y[i] ?? 0) - (x[i] ?? 0);
  return 0;
}
