import { describe, expect, it } from "vitest";
import type { Flag } from "../core/models/flags.ts";
import type { ModelVersion } from "../core/models/model.ts";
import type { PublishedVersion, VersionState, WeightFile } from "../core/models/published-version.ts";
import type { Rollout } from "../core/models/rollout.ts";
import { placeWithin } from "../core/models/rollout-bucket.ts";
import { createInputCheck } from "./input-check.ts";
import { createLiveRegistry } from "./live-registry.ts";
import type { Registry } from "./registry.ts";

const model = (endpoint: string, version: string): ModelVersion => ({
  endpoint,
  version,
  digest: `${endpoint} ${version}`,
  title: endpoint,
  description: "",
  category: "",
  runner: "stub",
  engine: "stub",
  folder: "/models",
  parameters: {},
  restrictions: [],
  slots: 1,
  memoryMiB: 1,
  pinned: false,
  retry: { attemptsMax: 1, initialMs: 1, backoff: 1, maximumMs: 1 },
  timeouts: { heartbeatMs: 1000, runMs: 1000, loadMs: 1000 },
  schemas: { input: { type: "object", properties: {} }, output: { type: "object" } },
});

/**
 * A store in memory that counts what it is asked, and a registry of the models folder with `acme/folder
 * 1.0.0`.
 */
function stage() {
  const folder = model("acme/folder", "1.0.0");
  const route = { model: folder, checkInput: createInputCheck(folder) };
  const base: Registry = {
    route: (endpoint) => (endpoint === folder.endpoint ? route : undefined),
    find: (endpoint, version) =>
      endpoint === folder.endpoint && version === folder.version ? folder : undefined,
    hasApp: (app) => app === "acme/folder",
    list: () => [folder],
    pipelines: () => [],
  };
  const versions = new Map<string, PublishedVersion>();
  let rollouts: Rollout[] = [];
  let flags: Flag[] = [];
  let revision = 0;
  let asked = 0;
  let away = false;
  const told = new Set<() => void>();
  const ask = async <T>(answer: () => T): Promise<T> => {
    asked++;
    if (away) throw new Error("away");
    return answer();
  };
  return {
    get asked() {
      return asked;
    },
    contentReads: 0,
    /** Happens once, when the versions were read and nothing else yet. */
    between: undefined as (() => void) | undefined,
    set away(now: boolean) {
      away = now;
    },
    tell: () => {
      for (const listener of told) listener();
    },
    publish(endpoint: string, version: string, state: VersionState = "enabled", files: WeightFile[] = []) {
      const { folder: _, ...content } = model(endpoint, version);
      const head = {
        endpoint,
        version,
        digest: content.digest,
        state,
        pushedBy: "k",
        pushedAtMs: 0,
        changedAtMs: 0,
        revision: ++revision,
      };
      versions.set(`${endpoint}@${version}`, { ...head, model: content, files });
    },
    rollOut(fields: Partial<Rollout>) {
      revision++;
      rollouts = [
        {
          rolloutId: "r",
          state: "running",
          startedBy: "k",
          startedAtMs: 0,
          changedAtMs: 0,
          revision,
          ...fields,
        } as Rollout,
      ];
    },
    flag(fields: Partial<Flag>) {
      revision++;
      flags = [...flags, { changedBy: "k", changedAtMs: 0, revision, ...fields } as Flag];
    },
    open(pollMs?: number) {
      return createLiveRegistry({
        base,
        versions: {
          heads: async () => {
            const heads = await ask(() =>
              [...versions.values()].map(({ model: _, files: __, ...head }) => head),
            );
            this.between?.();
            this.between = undefined;
            return heads;
          },
          content: (endpoint, version) =>
            ask(() => {
              this.contentReads++;
              return versions.get(`${endpoint}@${version}`);
            }),
        },
        rollouts: { list: () => ask(() => rollouts) },
        flags: { list: () => ask(() => flags) },
        changes: {
          marks: () =>
            ask(() => ({ versions: String(revision), rollouts: String(revision), flags: String(revision) })),
          onChange: async (listener) => {
            told.add(listener);
            return async () => void told.delete(listener);
          },
        },
        log: { debug() {}, info() {}, warn() {}, error() {} },
        ...(pollMs !== undefined && { pollMs }),
      });
    },
  };
}

describe("what is known", () => {
  it("is read from memory: a thousand submits ask the store nothing", async () => {
    const store = stage();
    store.publish("acme/pushed", "1.0.0");
    store.publish("acme/pushed", "1.1.0");
    store.rollOut({ endpoint: "acme/pushed", fromVersion: "1.0.0", toVersion: "1.1.0", share: 20 });
    store.flag({ kind: "model", name: "acme/pushed", share: 50 });
    await using registry = await store.open();
    const { asked } = store;
    for (let i = 0; i < 1000; i++) {
      registry.route("acme/pushed", `id-${i}`);
      registry.route("acme/folder", `id-${i}`);
      registry.find("acme/pushed", "1.0.0");
      registry.hasApp("acme/none");
      registry.isOn("model", "acme/pushed", `owner-${i}`);
      registry.list();
    }
    expect(store.asked).toBe(asked);
  });

  it("is brought up to date when it is told, and without a word at the next look", async () => {
    const store = stage();
    await using told = await store.open(60_000);
    await using looks = await store.open(20);
    store.publish("acme/pushed", "1.0.0");
    store.tell();
    for (const registry of [told, looks])
      await expect.poll(() => registry.route("acme/pushed")?.model?.version).toBe("1.0.0");
    store.publish("acme/pushed", "1.1.0");
    await expect.poll(() => looks.route("acme/pushed")?.model?.version).toBe("1.1.0");
    expect(told.route("acme/pushed")?.model?.version).toBe("1.0.0");
  });

  it("stays while the store is away, and is put right after", async () => {
    const store = stage();
    store.publish("acme/pushed", "1.0.0");
    await using registry = await store.open(20);
    store.away = true;
    store.publish("acme/pushed", "1.1.0");
    store.tell();
    const { asked } = store;
    await expect.poll(() => store.asked).toBeGreaterThan(asked + 2);
    expect(registry.route("acme/pushed")?.model?.version).toBe("1.0.0");
    store.away = false;
    await expect.poll(() => registry.route("acme/pushed")?.model?.version).toBe("1.1.0");
  });

  it("reads what never changes once, whatever is switched", async () => {
    const store = stage();
    store.publish("acme/pushed", "1.0.0");
    await using registry = await store.open();
    const before = registry.route("acme/pushed");
    store.publish("acme/pushed", "1.0.0", "disabled");
    await registry.refresh();
    store.publish("acme/pushed", "1.0.0", "enabled");
    await registry.refresh();
    expect(registry.route("acme/pushed")).toBe(before);
    expect(store.contentReads).toBe(1);
  });
});

it("where the weights of a version lie is read anew when it was removed and pushed again", async () => {
  const store = stage();
  const file = (objectKey: string): WeightFile => ({
    path: "w.onnx",
    sha256: "a".repeat(64),
    bytes: 1,
    objectKey,
  });
  store.publish("acme/pushed", "1.0.0", "removed", []);
  await using late = await store.open();
  expect(late.published()[0]?.files).toEqual([]);
  store.publish("acme/pushed", "1.0.0", "enabled", [file("weights/second/0")]);
  await late.refresh();
  expect(late.published()[0]?.files).toEqual([file("weights/second/0")]);
});

describe("what serves", () => {
  it("is the newest enabled version; a disabled one takes nothing and is no longer found", async () => {
    const store = stage();
    store.publish("acme/pushed", "1.9.0");
    store.publish("acme/pushed", "1.10.0");
    store.publish("acme/pushed", "2.0.0", "disabled");
    await using registry = await store.open();
    expect(registry.route("acme/pushed")?.model?.version).toBe("1.10.0");
    expect(registry.find("acme/pushed", "2.0.0")).toBeUndefined();
    store.publish("acme/pushed", "1.10.0", "removed");
    store.publish("acme/pushed", "1.9.0", "disabled");
    await registry.refresh();
    expect(registry.route("acme/pushed")).toBeUndefined();
    expect(registry.hasApp("acme/pushed")).toBe(false);
    expect(registry.published().map(({ version, state }) => `${version} ${state}`)).toEqual([
      "2.0.0 disabled",
      "1.10.0 removed",
      "1.9.0 disabled",
    ]);
  });

  it("of a package of the models folder, a newer one that was pushed; the folder's when that goes", async () => {
    const store = stage();
    store.publish("acme/folder", "1.1.0");
    await using registry = await store.open();
    expect(registry.route("acme/folder")?.model?.version).toBe("1.1.0");
    expect(registry.list().map(({ version }) => version)).toEqual(["1.1.0", "1.0.0"]);
    store.publish("acme/folder", "1.1.0", "disabled");
    await registry.refresh();
    expect(registry.route("acme/folder")?.model?.version).toBe("1.0.0");
  });

  it("is shared in a rollout by the request's id, the same in every process", async () => {
    const store = stage();
    store.publish("acme/folder", "1.1.0");
    store.rollOut({ endpoint: "acme/folder", fromVersion: "1.0.0", toVersion: "1.1.0", share: 25 });
    await using one = await store.open();
    await using other = await store.open();
    const ids = Array.from({ length: 2000 }, (_, i) => `request-${i}`);
    const chosen = ids.filter((id) => one.route("acme/folder", id)?.model?.version === "1.1.0");
    expect(chosen.length / ids.length).toBeGreaterThan(0.21);
    expect(chosen.length / ids.length).toBeLessThan(0.29);
    expect(chosen).toEqual(ids.filter((id) => placeWithin("acme/folder", id) < 25));
    expect(
      ids.every(
        (id) =>
          one.route("acme/folder", id)?.model?.version === other.route("acme/folder", id)?.model?.version,
      ),
    ).toBe(true);
    // Whoever asks without a request, as documentation does, is shown the version that most callers get.
    expect(one.route("acme/folder")?.model?.version).toBe("1.0.0");
  });
});

it("a rollout that is rolled back while it is read is never seen by halves, with the newer version for everybody", async () => {
  const store = stage();
  store.publish("acme/pushed", "1.0.0");
  store.publish("acme/pushed", "1.1.0");
  const rollout = { endpoint: "acme/pushed", fromVersion: "1.0.0", toVersion: "1.1.0", share: 0 };
  store.rollOut(rollout);
  store.between = () => {
    store.publish("acme/pushed", "1.1.0", "disabled");
    store.rollOut({ ...rollout, state: "rolled_back" });
  };
  await using registry = await store.open(60_000);
  expect(registry.route("acme/pushed", "any")?.model?.version).toBe("1.0.0");
});

describe("flags", () => {
  it("an owner's own comes before the one for everybody; a share is of owners", async () => {
    const store = stage();
    store.flag({ kind: "behaviour", name: "webhooks", share: 0 });
    store.flag({ kind: "behaviour", name: "webhooks", ownerId: "friend", share: 100 });
    store.flag({ kind: "model", name: "acme/folder", share: 30 });
    await using registry = await store.open();
    expect(registry.isOn("behaviour", "webhooks", "anybody")).toBe(false);
    expect(registry.isOn("behaviour", "webhooks", "friend")).toBe(true);
    expect(registry.isOn("behaviour", "realtime", "anybody")).toBe(true);
    const owners = Array.from({ length: 2000 }, (_, i) => `owner-${i}`);
    const on = owners.filter((owner) => registry.isOn("model", "acme/folder", owner)).length;
    expect(on / owners.length).toBeGreaterThan(0.26);
    expect(on / owners.length).toBeLessThan(0.34);
    expect(registry.isOn("workflow", "acme/folder", "owner-1")).toBe(true);
  });
});
