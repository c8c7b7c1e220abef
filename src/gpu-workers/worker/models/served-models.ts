/**
 * The published versions that a GPU worker serves: those that are enabled now, and those that were until
 * everything that runs on them has ended.
 */
import { isTemperaError } from "../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../core/limits.ts";
import type { ModelVersion } from "../../../core/models/model.ts";
import type { PublishedHead, WeightFile } from "../../../core/models/published-version.ts";
import type { WeightsCache } from "./weights-cache.ts";

/** A published version as a worker is told of it. */
export interface WantedVersion
  extends Pick<PublishedHead, "endpoint" | "version" | "digest" | "state" | "changedAtMs"> {
  /** Without a folder. */
  model: ModelVersion;
  files: readonly WeightFile[];
}

export interface ServedModelsDependencies {
  /** Every published version of the endpoints that this worker serves, whatever its state. */
  wanted: () => readonly WantedVersion[];
  weights: WeightsCache;
  /**
   * Makes a place for a model whose weights are here, and polls its queue. Throws when it does not fit this
   * worker.
   */
  begin: (model: ModelVersion) => void;
  /** Stops polling, ends its engine, forgets it. Nothing of it runs. */
  end: (model: ModelVersion) => Promise<void>;
  /**
   * Whether a job that began before a moment may still need the version, as Temporal knows. Rejects when it
   * cannot be asked.
   */
  inUse: (version: Pick<PublishedHead, "endpoint" | "version">, beganBeforeMs: number) => Promise<boolean>;
  /**
   * What the worker's list of engines says of a version that is not in the pool; `undefined`: it is, or is
   * gone.
   */
  report: (
    version: Pick<PublishedHead, "endpoint" | "version">,
    how: { state: "loading" | "out"; says: string } | undefined,
  ) => void;
  log: (
    level: "INFO" | "WARN" | "ERROR",
    message: string,
    about: { endpoint: string; version: string },
  ) => void;
  lingerMs?: number;
  lookMs?: number;
  /** Pause before weights that could not be had are asked for again. */
  retryMs?: number;
}

export interface ServedModels extends AsyncDisposable {
  /** Looks again at what is wanted. */
  changed(): void;
  /** A version that is served here, with its folder. */
  find(endpoint: string, version: string): ModelVersion | undefined;
}

interface Serving {
  wanted: WantedVersion;
  model?: ModelVersion;
  /** It is larger than this worker. */
  refused?: boolean;
  /** Since when it is no longer enabled. */
  retiringSinceMs?: number;
  work: Promise<void>;
  working: boolean;
}

export function startServedModels({
  wanted,
  weights,
  begin,
  end,
  inUse,
  report,
  log,
  lingerMs = LIMITS.retireLingerMs,
  lookMs = LIMITS.retireLookMs,
  retryMs = 5_000,
}: ServedModelsDependencies): ServedModels {
  const serving = new Map<string, Serving>();
  /** Not enabled, and known not to be needed: not asked about again. */
  const idle = new Set<string>();
  const stopping = new AbortController();
  const timers = new Set<NodeJS.Timeout>();
  const keyOf = ({ endpoint, version }: { endpoint: string; version: string }): string =>
    `${endpoint}@${version}`;

  const later = (ms: number, work: () => void): void => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      if (!stopping.signal.aborted) work();
    }, ms);
    timers.add(timer);
  };

  /**
   * One thing at a time for each version; each step says in how many milliseconds the next one is due, if one
   * is.
   */
  const step = (key: string): void => {
    const entry = serving.get(key);
    if (!entry || entry.working || stopping.signal.aborted) return;
    entry.working = true;
    entry.work = (entry.retiringSinceMs === undefined ? serve(entry) : retire(key, entry))
      .then((nextMs) => {
        entry.working = false;
        if (nextMs !== undefined) later(nextMs, () => step(key));
      })
      .catch((error) => {
        entry.working = false;
        log("ERROR", `Its state here is unclear: ${String(error)}`, entry.wanted);
      });
  };

  /** Fetches its weights and begins, unless that was done. */
  const serve = async (entry: Serving): Promise<number | undefined> => {
    if (entry.model || entry.refused) return undefined;
    const { wanted: version } = entry;
    const startedMs = Date.now();
    try {
      report(version, { state: "loading", says: "Its weights are being fetched." });
      const folder = await weights.place(version.digest, version.files, stopping.signal);
      if (stopping.signal.aborted) return undefined;
      entry.model = { ...version.model, folder };
      begin(entry.model);
      report(version, undefined);
      log("INFO", `Served from now on; its weights were here after ${Date.now() - startedMs} ms.`, version);
      // It may have been switched off meanwhile.
      return entry.retiringSinceMs === undefined ? undefined : 0;
    } catch (error) {
      if (stopping.signal.aborted) return undefined;
      delete entry.model;
      const message = error instanceof Error ? error.message : String(error);
      report(version, { state: "out", says: message });
      // Larger than this worker: another one may serve it.
      if (isTemperaError(error) && error.code === "runner_scheduling_failure") {
        entry.refused = true;
        log("ERROR", message, version);
        return undefined;
      }
      log("WARN", `Its weights cannot be had: ${message} Trying again in ${retryMs / 1000} s.`, version);
      return retryMs;
    }
  };

  /**
   * Polls on until nothing needs it: gateways that have not heard may still send, and a failed attempt comes
   * back after a pause.
   */
  const retire = async (key: string, entry: Serving): Promise<number | undefined> => {
    const { wanted: version, retiringSinceMs = 0 } = entry;
    const waitMs = retiringSinceMs + lingerMs - Date.now();
    const needed = waitMs > 0 || (await inUse(version, version.changedAtMs + lingerMs).catch(() => true));
    if (stopping.signal.aborted) return undefined;
    if (entry.retiringSinceMs === undefined) return 0; // enabled again meanwhile
    if (needed) {
      if (!entry.model) await serve(entry);
      return Math.max(waitMs, lookMs);
    }
    const { model } = entry;
    delete entry.model;
    if (model) {
      await end(model);
      log("INFO", `Dropped: it is ${version.state}, and nothing runs on it.`, version);
    }
    report(version, undefined);
    if (entry.retiringSinceMs === undefined) return 0;
    serving.delete(key);
    idle.add(key);
    await forget(version);
    return undefined;
  };
  /** A version that is only disabled may be enabled again: its weights stay. */
  const forget = async ({ state, digest, endpoint, version }: WantedVersion): Promise<void> => {
    if (state !== "removed") return;
    await weights
      .drop(digest)
      .catch((error) => log("WARN", `Its weights stay on the disk: ${String(error)}`, { endpoint, version }));
  };

  /**
   * Versions that were switched off before this worker knew of them: a job may still need one. Asked about
   * one after another.
   */
  let adopting: Promise<void> = Promise.resolve();
  const adopt = async (version: WantedVersion): Promise<void> => {
    const key = keyOf(version);
    const needed = await inUse(version, version.changedAtMs + lingerMs).catch(() => true);
    if (stopping.signal.aborted || serving.has(key) || !idle.has(key)) return;
    if (!needed) return forget(version);
    idle.delete(key);
    serving.set(key, {
      wanted: version,
      retiringSinceMs: Date.now() - lingerMs,
      work: Promise.resolve(),
      working: false,
    });
    step(key);
  };

  const changed = (): void => {
    if (stopping.signal.aborted) return;
    for (const version of wanted()) {
      const key = keyOf(version);
      const known = serving.get(key);
      if (version.state === "enabled") {
        idle.delete(key);
        if (known) {
          known.wanted = version;
          delete known.retiringSinceMs;
        } else serving.set(key, { wanted: version, work: Promise.resolve(), working: false });
        step(key);
      } else if (known) {
        known.wanted = version;
        known.retiringSinceMs ??= Date.now();
        step(key);
      } else if (!idle.has(key)) {
        idle.add(key);
        adopting = adopting.then(() => adopt(version));
      }
    }
  };

  changed();
  return {
    changed,
    find: (endpoint, version) => serving.get(keyOf({ endpoint, version }))?.model,
    async [Symbol.asyncDispose]() {
      stopping.abort(new Error("The GPU worker is going away."));
      for (const timer of timers) clearTimeout(timer);
      await adopting;
      await Promise.all([...serving.values()].map(({ work }) => work));
    },
  };
}
