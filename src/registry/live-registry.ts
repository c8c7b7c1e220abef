/**
 * The live registry: the packages of the models folder and the published versions, rollouts and flags. It is
 * held in memory, so that a lookup needs no store. It is read again whenever the store announces a change,
 * and periodically in case an announcement was lost.
 */

import { errorInfo } from "../core/errors/tempera-error.ts";
import { LIMITS } from "../core/limits.ts";
import { appOf } from "../core/models/endpoint.ts";
import type { FlagStore } from "../core/models/flag-store.ts";
import { type Flags, readFlags } from "../core/models/flags.ts";
import type { ModelVersion } from "../core/models/model.ts";
import type { ModelVersionStore } from "../core/models/model-version-store.ts";
import type {
  PublishedHead,
  PublishedVersion,
  VersionContent,
  WeightFile,
} from "../core/models/published-version.ts";
import type { RegistryChanges, RegistryPart } from "../core/models/registry-changes.ts";
import { type Rollout, rolloutBucket } from "../core/models/rollout.ts";
import type { RolloutStore } from "../core/models/rollout-store.ts";
import type { Log } from "../core/operations/log.ts";
import { createInputCheck } from "./input-check.ts";
import type { VerifyVersion } from "./packages/verify-version.ts";
import { byEndpoint, type ModelRoute, type Registry } from "./registry.ts";
import { costFault } from "./schemas/cost-fault.ts";

/** A published version. Its folder is empty: the GPU worker that runs it fetches its weights. */
export interface LiveVersion extends PublishedHead {
  model: ModelVersion;
  files: WeightFile[];
}

/** A published version that is not served, for a reason that a push with another content mends. */
export interface RefusedVersion extends PublishedHead {
  reason: string;
}

export interface LiveRegistry extends Registry, Flags, AsyncDisposable {
  /** Lists every published version, in any state, without the refused ones. */
  published(): LiveVersion[];
  /** Lists the published versions that are not served for their signature or their schemas. */
  refused(): RefusedVersion[];
  /** Lists the versions of the models folder, which are always enabled. */
  inFolder(): ModelVersion[];
  /** Finds the running rollout of an endpoint. */
  rollout(endpoint: string): Rollout | undefined;
  /** Reads the changes now. Rejects with `store_unavailable`; the state from before is served on. */
  refresh(): Promise<void>;
  /** Calls `listener` after each change of the versions. Returns a function that ends the subscription. */
  onChange(listener: () => void): () => void;
}

export interface LiveRegistryDependencies {
  base: Registry;
  versions: Pick<ModelVersionStore, "heads" | "content">;
  rollouts: Pick<RolloutStore, "list">;
  flags: Pick<FlagStore, "list">;
  changes: RegistryChanges;
  log: Log;
  /** Verifies a version by its signature, and reads its content anew. Absent: the store is believed. */
  verify?: VerifyVersion | undefined;
  /** Milliseconds between two reads without an announcement. @default LIMITS.registryPollMs */
  pollMs?: number;
}

/** The routes of an endpoint that has published versions. */
interface ServedEndpoint {
  newest: ModelRoute;
  /** The two versions of a running rollout, and the share of requests that `to` serves, in percent. */
  rollout?: { share: number; from: ModelRoute; to: ModelRoute };
}

/** Lookup tables over the versions that are enabled. Replaced as a whole by each change. */
interface LookupTables {
  /** By endpoint: those with published versions. */
  served: ReadonlyMap<string, ServedEndpoint>;
  enabled: ModelVersion[];
  /** By endpoint and version: the published ones. */
  byVersion: ReadonlyMap<string, ModelVersion>;
  apps: ReadonlySet<string>;
}

/** The most times that one refresh reads a state again that changed while it was read. */
const READS_MAX = 5;

const keyOf = ({ endpoint, version }: { endpoint: string; version: string }): string =>
  `${endpoint}@${version}`;

/** The state that was read from the store last, with lookup tables over it. */
class RegistryState {
  readonly #dependencies: LiveRegistryDependencies;
  readonly #folder: ModelVersion[];
  /** By endpoint and version. Manifests and schemas never change, so they are read once. */
  #versions = new Map<string, LiveVersion>();
  #marks: Partial<Record<RegistryPart, string>> = {};
  /** By endpoint and version. */
  #refused = new Map<string, RefusedVersion>();
  /** The input checks, which take long to compile, are reused while a version exists. */
  readonly #routes = new Map<ModelVersion, ModelRoute>();
  rollouts: Rollout[] = [];
  flags: Flags = readFlags([]);
  tables: LookupTables;

  constructor(dependencies: LiveRegistryDependencies, folder: ModelVersion[]) {
    this.#dependencies = dependencies;
    this.#folder = folder;
    this.tables = this.#makeTables();
  }

  get published(): LiveVersion[] {
    return [...this.#versions.values()].sort(byEndpoint);
  }

  get refused(): RefusedVersion[] {
    return [...this.#refused.values()].sort(byEndpoint);
  }

  /** Reads the parts that have changed. Returns true when versions or rollouts are among them. */
  async read(): Promise<boolean> {
    const { changes, rollouts, flags } = this.#dependencies;
    // Marks are read before their parts: a change in between is found by the next read.
    let marks = await changes.revisions();
    let changed = false;
    for (let reads = 1; ; reads++) {
      const versionsChanged = marks.versions !== this.#marks.versions;
      const rolloutsChanged = marks.rollouts !== this.#marks.rollouts;
      if (!versionsChanged && !rolloutsChanged) break;
      changed = true;
      if (versionsChanged) this.#versions = await this.#readVersions();
      if (rolloutsChanged) this.rollouts = (await rollouts.list()).filter(({ state }) => state === "running");
      // A rollout begins or ends together with a change of its version. With only one of the two changes
      // read, the newer version would serve everybody.
      const after = await changes.revisions();
      const consistent = after.versions === marks.versions && after.rollouts === marks.rollouts;
      if (consistent || reads === READS_MAX) break;
      marks = after;
    }
    if (marks.flags !== this.#marks.flags) this.flags = readFlags(await flags.list());
    this.#marks = marks;
    if (changed) this.tables = this.#makeTables();
    return changed;
  }

  async #readVersions(): Promise<Map<string, LiveVersion>> {
    const { versions, log } = this.#dependencies;
    const inFolder = new Set(this.#folder.map(keyOf));
    const fresh = new Map<string, LiveVersion>();
    const refused = new Map<string, RefusedVersion>();
    for (const head of await versions.heads()) {
      const key = keyOf(head);
      const before = this.#versions.get(key);
      // The weights of a removed version are deleted, and have other keys when it is pushed again.
      const isSame = before !== undefined && before.digest === head.digest;
      if (isSame && (before.state !== "removed" || head.state === "removed")) {
        fresh.set(key, { ...before, ...head });
        continue;
      }
      const content = await versions.content(head.endpoint, head.version);
      if (!content) continue;
      if (inFolder.has(key)) {
        const { endpoint, version } = head;
        log.warn({ endpoint, version }, "is in the models folder and published too: the folder's is served");
        continue;
      }
      const checked = await this.#check(content, head);
      if ("fault" in checked) {
        refused.set(key, { ...head, reason: checked.fault });
        continue;
      }
      const model = isSame ? before.model : { ...checked, folder: "", publishedAtMs: head.pushedAtMs };
      fresh.set(key, { ...head, model, files: content.files });
    }
    this.#logNewly(refused);
    this.#refused = refused;
    return fresh;
  }

  /** Gives the content of a version, or the reason why it is not served. */
  async #check(content: PublishedVersion, head: PublishedHead): Promise<VersionContent | { fault: string }> {
    const { verify } = this.#dependencies;
    const verified = verify ? await verify(content, head) : content.model;
    if ("fault" in verified) return verified;
    const tooCostly = costFault(verified);
    return tooCostly ? { fault: `schemas/input.json: ${tooCostly}` } : verified;
  }

  /** Logs once why a version is not served. */
  #logNewly(refused: ReadonlyMap<string, RefusedVersion>): void {
    for (const [key, { endpoint, version, revision, state, reason }] of refused)
      if (state !== "removed" && this.#refused.get(key)?.revision !== revision)
        this.#dependencies.log.error(
          { endpoint, version },
          `${endpoint} ${version} is not served: ${reason}. Push it again with a trusted signature or, ` +
            "if it has to change, as another version.",
        );
  }

  #makeTables(): LookupTables {
    const versions = [...this.#versions.values()];
    const isWithheld = (endpoint: string) => this.#dependencies.base.isWithheld?.(endpoint) === true;
    const enabled = versions
      .filter(({ state, endpoint }) => state === "enabled" && !isWithheld(endpoint))
      .map(({ model }) => model);
    const all = [...this.#folder, ...enabled].sort(byEndpoint);
    const served = new Map<string, ServedEndpoint>();
    for (const endpoint of new Set(enabled.map((model) => model.endpoint))) {
      const own = all.filter((model) => model.endpoint === endpoint);
      const [newest] = own;
      if (newest)
        served.set(endpoint, { newest: this.#routeTo(newest), ...this.#rolloutAmong(own, endpoint) });
    }
    const existing = new Set([...versions.map(({ model }) => model), ...this.#folder]);
    for (const model of this.#routes.keys()) if (!existing.has(model)) this.#routes.delete(model);
    return {
      served,
      enabled: enabled.length === 0 ? this.#folder : all,
      byVersion: new Map(enabled.map((model) => [keyOf(model), model])),
      apps: new Set(enabled.map(({ endpoint }) => appOf(endpoint))),
    };
  }

  #rolloutAmong(models: readonly ModelVersion[], endpoint: string): Pick<ServedEndpoint, "rollout"> {
    const rollout = this.rollouts.find((each) => each.endpoint === endpoint);
    const from = models.find(({ version }) => version === rollout?.fromVersion);
    const to = models.find(({ version }) => version === rollout?.toVersion);
    if (!rollout || !from || !to) return {};
    return { rollout: { share: rollout.share, from: this.#routeTo(from), to: this.#routeTo(to) } };
  }

  #routeTo(model: ModelVersion): ModelRoute {
    const { coercion } = this.#dependencies.base;
    const route = this.#routes.get(model) ?? { model, checkInput: createInputCheck(model, { coercion }) };
    this.#routes.set(model, route);
    return route;
  }
}

/** Rejects with `store_unavailable` when the store cannot be read at the start. */
export async function createLiveRegistry(dependencies: LiveRegistryDependencies): Promise<LiveRegistry> {
  const { base, changes, log, pollMs = LIMITS.registryPollMs } = dependencies;
  const folder = base.list();
  const state = new RegistryState(dependencies, folder);
  const listeners = new Set<() => void>();
  const reads = oneAtATime(async () => {
    if (await state.read()) for (const listener of [...listeners]) listener();
  });
  const refresh = (): Promise<void> => reads.run();
  const refreshInBackground = logFailures(refresh, log);

  const unsubscribe = await changes.onChange(refreshInBackground);
  try {
    await refresh();
  } catch (error) {
    await unsubscribe();
    throw error;
  }
  const poll = setInterval(refreshInBackground, pollMs).unref();

  return {
    route: (endpoint, requestId) => routeOf(state.tables, base, endpoint, requestId),
    find: (endpoint, version) =>
      state.tables.byVersion.get(keyOf({ endpoint, version })) ?? base.find(endpoint, version),
    hasApp: (app) => base.hasApp(app) || state.tables.apps.has(app),
    list: () => state.tables.enabled,
    pipelines: base.pipelines,
    isWithheld: (endpoint) => base.isWithheld?.(endpoint) === true,
    coercion: base.coercion,
    isOn: (kind, name, ownerId) => state.flags.isOn(kind, name, ownerId),
    published: () => state.published,
    refused: () => state.refused,
    inFolder: () => folder,
    rollout: (endpoint) => state.rollouts.find((each) => each.endpoint === endpoint),
    refresh,
    onChange(listener) {
      const own = () => listener();
      listeners.add(own);
      return () => void listeners.delete(own);
    },
    async [Symbol.asyncDispose]() {
      clearInterval(poll);
      await Promise.allSettled([unsubscribe(), reads.idle()]);
    },
  };
}

function routeOf({ served }: LookupTables, base: Registry, endpoint: string, requestId?: string) {
  const live = served.get(endpoint);
  if (!live) return base.route(endpoint, requestId);
  if (!live.rollout) return live.newest;
  const { share, from, to } = live.rollout;
  return requestId !== undefined && rolloutBucket(endpoint, requestId) < share ? to : from;
}

/**
 * Runs `work` never twice at once. A call during a run gets the run after it, which begins after the call;
 * all calls of that time share it. `idle` resolves or rejects with the runs under way.
 */
function oneAtATime(work: () => Promise<void>): { run(): Promise<void>; idle(): Promise<unknown> } {
  let current: Promise<void> | undefined;
  let following: Promise<void> | undefined;
  const run = (): Promise<void> => {
    if (!current) {
      current = work().finally(() => {
        current = undefined;
      });
      return current;
    }
    following ??= current
      .catch(() => {})
      .then(() => {
        following = undefined;
        return run();
      });
    return following;
  };
  return { run, idle: () => Promise.allSettled([current, following]) };
}

/** Makes a function that starts a refresh. Of failures in a row, the first is logged. */
function logFailures(refresh: () => Promise<void>, log: Log): () => void {
  let failing = false;
  const succeeded = (): void => {
    failing = false;
  };
  const failed = (error: unknown): void => {
    if (!failing)
      log.warn({ err: errorInfo(error) }, "the registry cannot be read; its last state is served on");
    failing = true;
  };
  return () => void refresh().then(succeeded, failed);
}
