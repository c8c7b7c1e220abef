/**
 * Checks packages in a thread with a deadline: their YAML, which is parsed in quadratic time, and their
 * schemas, which are compiled, would hold the event loop of every caller for seconds.
 */
import { extname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { LIMITS } from "../../core/limits.ts";
import type { Log } from "../../core/operations/log.ts";
import { DeadlineThread } from "../deadline-thread.ts";
import type { CheckedPackage, PackageContent } from "../packages/package-content.ts";
import type { EngineRunners } from "../packages/review-model.ts";
import type { Answer, Task } from "./task.ts";

const PROGRAM = pathToFileURL(join(import.meta.dirname, `thread${extname(import.meta.filename)}`));

export interface PackageThreadOptions {
  /** The folder of `manifest.json`. */
  schemasFolder: string;
  log: Pick<Log, "warn">;
  /** Longest time of one package, in milliseconds. @default LIMITS.packageCheckMs */
  deadlineMs?: number;
}

/** The thread of a process. It checks one package after the other. */
export class PackageThread implements AsyncDisposable {
  readonly #options: PackageThreadOptions;
  readonly #thread = new DeadlineThread<Task, Answer>({
    program: PROGRAM,
    memoryMib: LIMITS.packageThreadMib,
  });
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: PackageThreadOptions) {
    this.#options = options;
  }

  /**
   * Checks a package; one that takes too long has that fault.
   *
   * @param engines the runners of each engine: the package is also reviewed for slips
   */
  check(content: PackageContent, engines?: EngineRunners): Promise<CheckedPackage> {
    const checked = this.#last.then(() => this.#check(content, engines));
    this.#last = checked.catch(() => {});
    return checked;
  }

  async #check(content: PackageContent, engines?: EngineRunners): Promise<CheckedPackage> {
    const { schemasFolder, log, deadlineMs = LIMITS.packageCheckMs } = this.#options;
    const task = { content, schemasFolder, ...(engines && { engines }) };
    const answer = await this.#thread.perform(task, deadlineMs);
    for (const { about, message } of answer?.warnings ?? []) log.warn(about, message);
    const late = `model.yaml and its schemas take more than ${deadlineMs} ms or too much memory to check`;
    return answer?.checked ?? { faults: [`${late}; make them smaller`] };
  }

  /** Ends the thread. Packages that wait are rejected. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#thread[Symbol.asyncDispose]();
  }
}
