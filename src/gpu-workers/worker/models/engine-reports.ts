/**
 * Reports the state of this worker's engines to the engine status store, and carries out what operators
 * request there. A report is written soon after an engine came, went or failed, and every
 * `LIMITS.engineReportMs` as a sign of life. The numbers of running and waiting requests change all the time,
 * so a change of them alone waits for the next sign of life.
 */

import {
  type EngineStatus,
  unservedVersions,
  type WorkerStatus,
} from "../../../core/engines/engine-status.ts";
import type { DrainOrders, EngineStatusStore } from "../../../core/engines/engine-status-store.ts";
import { writeJson } from "../../../core/json/exact-json.ts";
import { LIMITS } from "../../../core/limits.ts";
import { type ModelVersion, taskQueueOf } from "../../../core/models/model.ts";

export interface EngineReportsOptions {
  store: EngineStatusStore;
  worker: WorkerStatus;
  list: () => EngineStatus[];
  reset: (model: Pick<ModelVersion, "endpoint" | "version">) => void;
  /** Called before each report with everything that operators have drained on this worker. */
  drain: (drained: DrainOrders) => void;
  /**
   * Called after each report with the task queues of this worker's models that no worker has served for
   * `unservedMaxMs`: their requests wait for nothing and are refused.
   */
  refuse: (taskQueues: ReadonlySet<string>) => void;
  unservedMaxMs: number;
  /**
   * Called once when the store cannot be reached, and once when it can be again. Requests are served
   * meanwhile as ever.
   */
  log: (level: "INFO" | "WARN", message: string) => void;
}

export class EngineReports implements AsyncDisposable {
  readonly #options: EngineReportsOptions;
  #isStoreAway = false;
  #isStopped = false;
  #debounceTimer: NodeJS.Timeout | undefined;
  #interval: NodeJS.Timeout | undefined;
  /** Reports are written one after another: an older one must not arrive after a newer one. */
  #writing: Promise<void> = Promise.resolve();
  /** The last report, without the numbers of requests. */
  #lastReport = "";
  /** Since when no worker serves a model of this one, by task queue and a clock that is never set back. */
  #unservedSinceMs = new Map<string, number>();
  #unsubscribe: () => Promise<void> = async () => {};

  private constructor(options: EngineReportsOptions) {
    this.#options = options;
  }

  /** Resolves when the first report is written, or has failed. */
  static async start(options: EngineReportsOptions): Promise<EngineReports> {
    const reports = new EngineReports(options);
    const { store, worker } = options;
    reports.#unsubscribe = await store
      .onReset(worker.worker, () => void reports.#enqueue())
      .catch(() => async () => {});
    reports.#interval = setInterval(() => void reports.#enqueue(), LIMITS.engineReportMs);
    await reports.#enqueue();
    return reports;
  }

  /**
   * Notifies the reports of a possible change. If there is one, it is reported soon, together with other
   * changes that follow within `LIMITS.engineReportDebounceMs`.
   */
  changed(): void {
    if (this.#isStopped || this.#debounceTimer) return;
    if (withoutRequestCounts(this.#options.list()) !== this.#lastReport)
      this.#debounceTimer = setTimeout(() => void this.#enqueue(), LIMITS.engineReportDebounceMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { store, worker } = this.#options;
    this.#isStopped = true;
    clearInterval(this.#interval);
    clearTimeout(this.#debounceTimer);
    await this.#writing;
    await this.#unsubscribe().catch(() => {});
    await store.remove(worker.worker).catch(() => {});
  }

  #enqueue(): Promise<void> {
    clearTimeout(this.#debounceTimer);
    this.#debounceTimer = undefined;
    this.#writing = this.#writing.then(() => this.#report());
    return this.#writing;
  }

  async #report(): Promise<void> {
    if (this.#isStopped) return;
    const { store, worker, list, reset, drain, refuse, log } = this.#options;
    try {
      for (const model of await store.takeResets(worker.worker)) reset(model);
      drain(await store.drained(worker.worker));
      const engines = list();
      this.#lastReport = withoutRequestCounts(engines);
      await store.report(worker, engines);
      refuse(await this.#unservedLong(engines));
      if (this.#isStoreAway) log("INFO", "engines are reported again");
      this.#isStoreAway = false;
    } catch (error) {
      if (!this.#isStoreAway)
        log("WARN", `engines cannot be reported: ${error instanceof Error ? error.message : String(error)}`);
      this.#isStoreAway = true;
    }
  }

  /** Finds the task queues of these engines that no worker has served for too long. */
  async #unservedLong(engines: readonly EngineStatus[]): Promise<Set<string>> {
    const own = engines.filter(({ state }) => state === "unhealthy").map(taskQueueOf);
    const unserved = own.length > 0 ? unservedVersions(await this.#options.store.list()) : new Map();
    const nowMs = performance.now();
    const sinceMs = new Map<string, number>();
    for (const taskQueue of own)
      if (unserved.has(taskQueue)) sinceMs.set(taskQueue, this.#unservedSinceMs.get(taskQueue) ?? nowMs);
    this.#unservedSinceMs = sinceMs;
    const { unservedMaxMs } = this.#options;
    return new Set(
      [...sinceMs].filter(([, since]) => nowMs - since >= unservedMaxMs).map(([queue]) => queue),
    );
  }
}

function withoutRequestCounts(engines: readonly EngineStatus[]): string {
  return writeJson(engines.map(({ running: _, waiting: __, ...rest }) => rest));
}
