/**
 * The published versions that a GPU worker serves: those that are enabled now, and those that were, until
 * everything that runs on them has ended.
 *
 * Each version that the worker deals with is in one of these modes:
 *
 * - **fetching**: enabled, its weights are on their way. A failure is reported and retried after `retryMs`.
 *   → serving, refused
 * - **serving**: in the pool and polled. → winding down, when it is disabled or removed
 * - **refused**: larger than this worker. It is reported and not tried again.
 * - **winding down**: no longer enabled, but still served: gateways that do not know yet may send requests,
 *   and a failed attempt may come back. After `lingerMs` the worker asks every `lookMs` whether a job needs
 *   the version. → fetching or serving, when it is enabled again; → settled, when no job needs it
 * - **settled**: not enabled, and no job needs it. It is dropped from the pool; the weights of a removed
 *   version are deleted, those of a disabled one stay.
 *
 * A version that was disabled before this worker knew of it is settled at first, and winds down when a job
 * still needs it. Each version has at most one step in progress.
 */
import { isTemperaError } from "../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../core/limits.ts";
import type { ModelVersion } from "../../../core/models/model.ts";
import type { PublishedHead, WeightFile } from "../../../core/models/published-version.ts";
import type { WeightsCache } from "./weights-cache.ts";

/** A published version, as the registry describes it to a worker. */
export interface WantedVersion
  extends Pick<PublishedHead, "endpoint" | "version" | "digest" | "state" | "changedAtMs"> {
  /** Without its folder. */
  model: ModelVersion;
  files: readonly WeightFile[];
}

/** Why a version is not in the pool. */
export interface AbsenceReport {
  state: "loading" | "unhealthy";
  reason: string;
}

export interface ServedModelsOptions {
  /** Lists every published version of the endpoints that this worker serves, in any state. */
  wanted: () => readonly WantedVersion[];
  weights: WeightsCache;
  /**
   * Adds a model whose weights are here to the pool, and polls its queue. Throws `runner_scheduling_failure`
   * when it does not fit this worker.
   */
  begin: (model: ModelVersion) => void;
  /** Stops polling for a model, ends its engine and forgets it. Nothing runs on it any more. */
  end: (model: ModelVersion) => Promise<void>;
  /**
   * Asks Temporal whether a job that began before a moment may still need the version. Rejects when Temporal
   * cannot be asked.
   */
  inUse: (version: Pick<PublishedHead, "endpoint" | "version">, beganBeforeMs: number) => Promise<boolean>;
  /** Reports a version that is not in the pool; `undefined` takes the last report back. */
  report: (version: Pick<PublishedHead, "endpoint" | "version">, absence: AbsenceReport | undefined) => void;
  log: (
    level: "INFO" | "WARN" | "ERROR",
    message: string,
    about: { endpoint: string; version: string },
  ) => void;
  lingerMs?: number;
  lookMs?: number;
  /** Pause before weights that could not be fetched are requested again. */
  retryMs?: number;
}

interface ServedVersion {
  wanted: WantedVersion;
  /** Set while it is in the pool. */
  model?: ModelVersion;
  isRefused?: boolean;
  /** Since when it is no longer enabled; set while it winds down. */
  disabledSinceMs?: number;
  step: Promise<void>;
  isStepping: boolean;
}

export class ServedModels implements AsyncDisposable {
  readonly #options: Required<ServedModelsOptions>;
  readonly #versions = new Map<string, ServedVersion>();
  /** Keys of settled versions: Temporal is not asked about them again. */
  readonly #settled = new Set<string>();
  readonly #stopping = new AbortController();
  readonly #timers = new Set<NodeJS.Timeout>();
  /** Checks of versions that were disabled before this worker knew of them, one after another. */
  #checks: Promise<void> = Promise.resolve();

  private constructor(options: ServedModelsOptions) {
    this.#options = {
      lingerMs: LIMITS.disabledVersionLingerMs,
      lookMs: LIMITS.disabledVersionLookMs,
      retryMs: 5_000,
      ...options,
    };
  }

  static start(options: ServedModelsOptions): ServedModels {
    const served = new ServedModels(options);
    served.refresh();
    return served;
  }

  /** Compares what is wanted with what is served, after a change of the registry. */
  refresh(): void {
    if (this.#stopping.signal.aborted) return;
    for (const version of this.#options.wanted()) {
      if (version.state === "enabled") this.#enable(version);
      else this.#disable(version);
    }
  }

  /** Finds a version that is served here, with its folder. */
  find(endpoint: string, version: string): ModelVersion | undefined {
    return this.#versions.get(keyOf({ endpoint, version }))?.model;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new Error("The GPU worker is shutting down."));
    for (const timer of this.#timers) clearTimeout(timer);
    await this.#checks;
    await Promise.all([...this.#versions.values()].map(({ step }) => step));
  }

  #enable(version: WantedVersion): void {
    const key = keyOf(version);
    const known = this.#versions.get(key);
    this.#settled.delete(key);
    if (known) {
      known.wanted = version;
      delete known.disabledSinceMs;
    } else this.#versions.set(key, { wanted: version, step: Promise.resolve(), isStepping: false });
    this.#step(key);
  }

  #disable(version: WantedVersion): void {
    const key = keyOf(version);
    const known = this.#versions.get(key);
    if (known) {
      known.wanted = version;
      known.disabledSinceMs ??= Date.now();
      this.#step(key);
    } else if (!this.#settled.has(key)) {
      this.#settled.add(key);
      this.#checks = this.#checks.then(() => this.#checkSettled(version));
    }
  }

  /** Starts the next step of a version, unless one is in progress. */
  #step(key: string): void {
    const entry = this.#versions.get(key);
    if (!entry || entry.isStepping || this.#stopping.signal.aborted) return;
    entry.isStepping = true;
    const step = entry.disabledSinceMs === undefined ? this.#fetch(entry) : this.#windDown(key, entry);
    entry.step = step
      .then((nextMs) => {
        entry.isStepping = false;
        if (nextMs !== undefined) this.#later(nextMs, () => this.#step(key));
      })
      .catch((error) => {
        entry.isStepping = false;
        this.#options.log("ERROR", `Serving this version failed: ${String(error)}`, entry.wanted);
      });
  }

  #later(ms: number, work: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (!this.#stopping.signal.aborted) work();
    }, ms);
    this.#timers.add(timer);
  }

  /**
   * Fetches the weights of a version and begins to serve it, unless that was done.
   *
   * @returns milliseconds until the next step, or `undefined` when none is due
   */
  async #fetch(entry: ServedVersion): Promise<number | undefined> {
    if (entry.model || entry.isRefused) return undefined;
    const { weights, begin, report, log } = this.#options;
    const { signal } = this.#stopping;
    const { wanted: version } = entry;
    const startedMs = Date.now();
    try {
      report(version, { state: "loading", reason: "Its weights are being fetched." });
      const folder = await weights.ensure(version.digest, version.files, signal);
      if (signal.aborted) return undefined;
      entry.model = { ...version.model, folder };
      begin(entry.model);
      report(version, undefined);
      log("INFO", `Served from now on; its weights were here after ${Date.now() - startedMs} ms.`, version);
      // It may have been disabled meanwhile.
      return entry.disabledSinceMs === undefined ? undefined : 0;
    } catch (error) {
      if (signal.aborted) return undefined;
      delete entry.model;
      return this.#onFetchFailed(entry, version, error);
    }
  }

  #onFetchFailed(entry: ServedVersion, version: WantedVersion, error: unknown): number | undefined {
    const { report, log, retryMs } = this.#options;
    const reason = error instanceof Error ? error.message : String(error);
    report(version, { state: "unhealthy", reason });
    // It is larger than this worker. Another worker may serve it.
    if (isTemperaError(error) && error.code === "runner_scheduling_failure") {
      entry.isRefused = true;
      log("ERROR", reason, version);
      return undefined;
    }
    log("WARN", `Its weights cannot be fetched: ${reason} Trying again in ${retryMs / 1000} s.`, version);
    return retryMs;
  }

  /**
   * Drops a version that is no longer enabled, as soon as nothing needs it.
   *
   * @returns milliseconds until the next step, or `undefined` when none is due
   */
  async #windDown(key: string, entry: ServedVersion): Promise<number | undefined> {
    const { lookMs, lingerMs, end, report, log } = this.#options;
    const { wanted: version, disabledSinceMs = 0 } = entry;
    const waitMs = disabledSinceMs + lingerMs - Date.now();
    const isNeeded = waitMs > 0 || (await this.#isNeeded(version));
    if (this.#stopping.signal.aborted) return undefined;
    if (entry.disabledSinceMs === undefined) return 0; // It was enabled again meanwhile.
    if (isNeeded) {
      if (!entry.model) await this.#fetch(entry);
      return Math.max(waitMs, lookMs);
    }
    const { model } = entry;
    delete entry.model;
    if (model) {
      await end(model);
      log("INFO", `No longer served: it is ${version.state}, and nothing runs on it.`, version);
    }
    report(version, undefined);
    if (entry.disabledSinceMs === undefined) return 0;
    this.#versions.delete(key);
    this.#settled.add(key);
    await this.#deleteWeights(version);
    return undefined;
  }

  /** Winds a version down that was disabled before this worker knew of it, if a job still needs it. */
  async #checkSettled(version: WantedVersion): Promise<void> {
    const key = keyOf(version);
    const isNeeded = await this.#isNeeded(version);
    if (this.#stopping.signal.aborted || this.#versions.has(key) || !this.#settled.has(key)) return;
    if (!isNeeded) return this.#deleteWeights(version);
    this.#settled.delete(key);
    this.#versions.set(key, {
      wanted: version,
      disabledSinceMs: Date.now() - this.#options.lingerMs,
      step: Promise.resolve(),
      isStepping: false,
    });
    this.#step(key);
  }

  /** A version counts as needed while Temporal cannot be asked. */
  #isNeeded(version: WantedVersion): Promise<boolean> {
    const { inUse, lingerMs } = this.#options;
    return inUse(version, version.changedAtMs + lingerMs).catch(() => true);
  }

  /** Deletes the weights of a removed version. A disabled one may be enabled again, so its weights stay. */
  async #deleteWeights({ state, digest, endpoint, version }: WantedVersion): Promise<void> {
    if (state !== "removed") return;
    const { weights, log } = this.#options;
    await weights
      .drop(digest)
      .catch((error) =>
        log("WARN", `Its weights could not be deleted: ${String(error)}`, { endpoint, version }),
      );
  }
}

function keyOf({ endpoint, version }: { endpoint: string; version: string }): string {
  return `${endpoint}@${version}`;
}
