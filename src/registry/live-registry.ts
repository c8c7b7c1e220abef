/**
 * The live registry: the packages of the models folder, and the versions that were published since. Kept in
 * memory, so that a read asks nobody; brought up to date when the store says that something changed, and by
 * looking now and then in case its word was lost.
 */
import { appOf } from "../core/models/endpoint.ts";
import { errorInfo } from "../core/errors/tempera-error.ts";
import { type Flags, readFlags } from "../core/models/flags.ts";
import { LIMITS } from "../core/limits.ts";
import type { ModelVersion } from "../core/models/model.ts";
import type { FlagStore } from "../core/models/flag-store.ts";
import type { Log } from "../core/operations/log.ts";
import type { ModelVersionStore } from "../core/models/model-version-store.ts";
import type { RegistryChanges, RegistryPart } from "../core/models/registry-changes.ts";
import type { RolloutStore } from "../core/models/rollout-store.ts";
import { newestFirst, type PublishedHead, type WeightFile } from "../core/models/published-version.ts";
import type { Rollout } from "../core/models/rollout.ts";
import { placeWithin } from "../core/models/rollout-bucket.ts";
import { createInputCheck } from "./input-check.ts";
import { byEndpoint, type ModelRoute, type Registry } from "./registry.ts";

/**
 * A published version as this process knows it. Its folder is empty: weights are fetched by whoever runs it.
 */
export interface LiveVersion extends PublishedHead {
  model: ModelVersion;
  files: WeightFile[];
}

export interface LiveRegistry extends Registry, Flags, AsyncDisposable {
  /** Every published version, whatever its state. */
  published(): LiveVersion[];
  /** The versions that lie in the models folder: always there, always enabled. */
  inFolder(): ModelVersion[];
  /** The rollout of an endpoint that runs. */
  rollout(endpoint: string): Rollout | undefined;
  /** Looks now. Rejects with `store_unavailable`; what was known stays. */
  refresh(): Promise<void>;
  /** Calls `listener` after each change of the versions. Returns how to stop. */
  onChange(listener: () => void): () => void;
}

export interface LiveRegistryDependencies {
  base: Registry;
  versions: Pick<ModelVersionStore, "heads" | "content">;
  rollouts: Pick<RolloutStore, "list">;
  flags: Pick<FlagStore, "list">;
  changes: RegistryChanges;
  log: Log;
  /** How often it looks although nothing was said. */
  pollMs?: number;
}

/** What serves an endpoint of which versions were published. */
interface Served {
  newest: ModelRoute;
  /** The rollout's two versions. */
  rollout?: { share: number; from: ModelRoute; to: ModelRoute };
}

/** How often what changes while it is read is read again in one look. */
const READS_MAX = 5;

/** Rejects with `store_unavailable` when the store cannot be read at the start. */
export async function createLiveRegistry({
  base,
  versions,
  rollouts,
  flags,
  changes,
  log,
  pollMs = LIMITS.registryPollMs,
}: LiveRegistryDependencies): Promise<LiveRegistry> {
  const folder = base.list();
  const inFolder = new Set(folder.map(({ endpoint, version }) => `${endpoint}@${version}`));
  const listeners = new Set<() => void>();
  /**
   * By endpoint and version. Its manifest and schemas never change, so they are read once, and its input
   * check made once.
   */
  const known = new Map<string, LiveVersion>();
  const routes = new Map<ModelVersion, ModelRoute>();
  let seen: Partial<Record<RegistryPart, string>> = {};
  let running: Rollout[] = [];
  let on: Flags = readFlags([]);
  let served = new Map<string, Served>();
  let enabled: ModelVersion[] = folder;
  let byVersion = new Map<string, ModelVersion>();
  let apps = new Set<string>();

  const readVersions = async (): Promise<void> => {
    const heads = await versions.heads();
    const fresh = new Map<string, LiveVersion>();
    for (const head of heads) {
      const key = `${head.endpoint}@${head.version}`;
      const before = known.get(key);
      // Weights of a removed version are let go, and lie elsewhere when it is pushed again.
      if (before && (before.state !== "removed" || head.state === "removed")) {
        fresh.set(key, { ...before, ...head });
        continue;
      }
      const content = await versions.content(head.endpoint, head.version);
      if (!content) continue;
      if (inFolder.has(key)) {
        log.warn(
          { endpoint: head.endpoint, version: head.version },
          "lies in the models folder and was published too: the folder's is served",
        );
        continue;
      }
      fresh.set(key, {
        ...head,
        model: before?.model ?? { ...content.model, folder: "", publishedAtMs: head.pushedAtMs },
        files: content.files,
      });
    }
    known.clear();
    for (const [key, version] of fresh) known.set(key, version);
  };

  const routeTo = (model: ModelVersion): ModelRoute => {
    const route = routes.get(model) ?? { model, checkInput: createInputCheck(model) };
    routes.set(model, route);
    return route;
  };

  /** Works out what serves what. */
  const arrange = (): void => {
    const live = [...known.values()].filter(({ state }) => state === "enabled").map(({ model }) => model);
    const all = [...folder, ...live].sort(byEndpoint);
    const next = new Map<string, Served>();
    for (const endpoint of new Set(live.map(({ endpoint: each }) => each))) {
      const own = all.filter((model) => model.endpoint === endpoint);
      const [newest] = own;
      if (!newest) continue;
      const rollout = running.find((each) => each.endpoint === endpoint);
      const from = own.find(({ version }) => version === rollout?.fromVersion);
      const to = own.find(({ version }) => version === rollout?.toVersion);
      next.set(endpoint, {
        newest: routeTo(newest),
        ...(rollout &&
          from &&
          to && { rollout: { share: rollout.share, from: routeTo(from), to: routeTo(to) } }),
      });
    }
    const kept = new Set([...known.values()].map(({ model }) => model));
    for (const model of routes.keys()) if (!kept.has(model) && !folder.includes(model)) routes.delete(model);
    served = next;
    enabled = live.length === 0 ? folder : all;
    byVersion = new Map(live.map((model) => [`${model.endpoint}@${model.version}`, model]));
    apps = new Set(live.map(({ endpoint }) => appOf(endpoint)));
  };

  const look = async (): Promise<void> => {
    // Read before what it marks: a change in between is found by the next look.
    let marks = await changes.marks();
    let changed = false;
    for (let reads = 1; ; reads++) {
      const versionsChanged = marks.versions !== seen.versions;
      const rolloutsChanged = marks.rollouts !== seen.rollouts;
      if (!versionsChanged && !rolloutsChanged) break;
      changed = true;
      if (versionsChanged) await readVersions();
      if (rolloutsChanged) running = (await rollouts.list()).filter(({ state }) => state === "running");
      // A rollout begins or ends with its version in one moment: seen by halves, the newer version would
      // serve everybody.
      const after = await changes.marks();
      const whole = after.versions === marks.versions && after.rollouts === marks.rollouts;
      if (whole || reads === READS_MAX) break;
      marks = after;
    }
    if (marks.flags !== seen.flags) on = readFlags(await flags.list());
    seen = marks;
    if (!changed) return;
    arrange();
    for (const listener of [...listeners]) listener();
  };

  /** One look at a time; who asks during one gets the next, which began after the question. */
  let looking: Promise<void> | undefined;
  let following: Promise<void> | undefined;
  const refresh = (): Promise<void> => {
    if (!looking) {
      looking = look().finally(() => {
        looking = undefined;
      });
      return looking;
    }
    following ??= looking
      .catch(() => {})
      .then(() => {
        following = undefined;
        return refresh();
      });
    return following;
  };
  let away = false;
  const refreshSoon = (): void =>
    void refresh().then(
      () => {
        away = false;
      },
      (error) => {
        if (!away)
          log.warn(
            { err: errorInfo(error) },
            "the registry cannot be read: what was known goes on being served",
          );
        away = true;
      },
    );

  const unlisten = await changes.onChange(refreshSoon);
  try {
    await refresh();
  } catch (error) {
    await unlisten();
    throw error;
  }
  const poll = setInterval(refreshSoon, pollMs);
  poll.unref();

  return {
    route(endpoint, requestId) {
      const live = served.get(endpoint);
      if (!live) return base.route(endpoint, requestId);
      if (!live.rollout) return live.newest;
      const { share, from, to } = live.rollout;
      return requestId !== undefined && placeWithin(endpoint, requestId) < share ? to : from;
    },
    find: (endpoint, version) => byVersion.get(`${endpoint}@${version}`) ?? base.find(endpoint, version),
    hasApp: (app) => base.hasApp(app) || apps.has(app),
    list: () => enabled,
    pipelines: base.pipelines,
    isOn: (kind, name, ownerId) => on.isOn(kind, name, ownerId),
    published: () =>
      [...known.values()].sort((a, b) =>
        a.endpoint === b.endpoint ? newestFirst(a.version, b.version) : a.endpoint < b.endpoint ? -1 : 1,
      ),
    inFolder: () => folder,
    rollout: (endpoint) => running.find((each) => each.endpoint === endpoint),
    refresh,
    onChange(listener) {
      const own = () => listener();
      listeners.add(own);
      return () => void listeners.delete(own);
    },
    async [Symbol.asyncDispose]() {
      clearInterval(poll);
      await Promise.allSettled([unlisten(), looking, following]);
    },
  };
}
