/** The messages between a process and its package thread. */
import type { CheckedPackage, PackageContent } from "../packages/package-content.ts";
import type { EngineRunners } from "../packages/review-model.ts";

export interface Task {
  content: PackageContent;
  /** The folder of `manifest.json`. */
  schemasFolder: string;
  /** Absent: the package is not reviewed. */
  engines?: EngineRunners;
}

export interface Answer {
  checked: CheckedPackage;
  /** Lines for the log, each with what it is about. */
  warnings: { about: object; message: string }[];
}
