import { describe, expect, it } from "vitest";
import type { Flag } from "../core/models/flags.ts";
import type { ModelVersion } from "../core/models/model.ts";
import type { PublishedVersion, VersionState, WeightFile } from "../core/models/published-version.ts";
import { type Rollout, rolloutBucket } from "../core/models/rollout.ts";
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
 * A store in memory that counts its reads, and a registry of the models folder with `acme/folder 1.0.0`.
 */
function stage({ isWithheld }: Pick<Registry, "isWithheld"> = {}) {
  const folder = model("acme/folder", "1.0.0");
  const route = { model: folder, checkInput: createInputCheck(folder) };
  const base: Registry = {
    route: (endpoint) => (endpoint === folder.endpoint ? route : undefined),
    find: (endpoint, version) =>
      endpoint === folder.endpoint && version === folder.version ? folder : undefined,
    hasApp: (app) => app === "acme/folder",
    list: () => [folder],
    pipelines: () => [],
    ...(isWithheld && { isWithheld }),
  };
  const versions = new Map<string, PublishedVersion>();
  let rollouts: Rollout[] = [];
  let flags: Flag[] = [];
  let revision = 0;
  let reads = 0;
  let away = false;
  const listeners = new Set<() => void>();
  const read = async <T>(answer: () => T): Promise<T> => {
    reads++;
    if (away) throw new Error("away");
    return answer();
  };
  return {
    get reads() {
      return reads;
    },
    contentReads: 0,
    /** Lines of the log. */
    errors: [] as string[],
    /** Runs once, after the versions were read and before anything else. */
    between: undefined as (() => void) | undefined,
    set away(now: boolean) {
      away = now;
    },
    notify: () => {
      for (const listener of listeners) listener();
    },
    publish(
      endpoint: string,
      version: string,
      state: VersionState = "enabled",
      files: WeightFile[] = [],
      fields: Partial<ModelVersion> = {},
    ) {
      const { folder: _, ...content } = { ...model(endpoint, version), ...fields };
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
            const heads = await read(() =>
              [...versions.values()].map(({ model: _, files: __, ...head }) => head),
            );
            this.between?.();
            this.between = undefined;
            return heads;
          },
          content: (endpoint, version) =>
            read(() => {
              this.contentReads++;
              return versions.get(`${endpoint}@${version}`);
            }),
        },
        rollouts: { list: () => read(() => rollouts) },
        flags: { list: () => read(() => flags) },
        changes: {
          revisions: () =>
            read(() => ({ versions: String(revision), rollouts: String(revision), flags: String(revision) })),
          onChange: async (listener) => {
            listeners.add(listener);
            return async () => void listeners.delete(listener);
          },
        },
        log: { debug() {}, info() {}, warn() {}, error: (_, message) => void this.errors.push(message) },
        ...(pollMs !== undefined && { pollMs }),
      });
    },
  };
}

describe("the state of the registry", () => {
  it("is read from memory: a thousand submits read nothing from the store", async () => {
    const store = stage();
    store.publish("acme/pushed", "1.0.0");
    store.publish("acme/pushed", "1.1.0");
    store.rollOut({ endpoint: "acme/pushed", fromVersion: "1.0.0", toVersion: "1.1.0", share: 20 });
    store.flag({ kind: "model", name: "acme/pushed", share: 50 });
    await using registry = await store.open();
    const { reads } = store;
    for (let i = 0; i < 1000; i++) {
      registry.route("acme/pushed", `id-${i}`);
      registry.route("acme/folder", `id-${i}`);
      registry.find("acme/pushed", "1.0.0");
      registry.hasApp("acme/none");
      registry.isOn("model", "acme/pushed", `owner-${i}`);
      registry.list();
    }
    expect(store.reads).toBe(reads);
  });

  it("is read again after a notification, and without one at the next poll", async () => {
    const store = stage();
    await using notified = await store.open(60_000);
    await using polling = await store.open(20);
    store.publish("acme/pushed", "1.0.0");
    store.notify();
    for (const registry of [notified, polling])
      await expect.poll(() => registry.route("acme/pushed")?.model?.version).toBe("1.0.0");
    store.publish("acme/pushed", "1.1.0");
    await expect.poll(() => polling.route("acme/pushed")?.model?.version).toBe("1.1.0");
    expect(notified.route("acme/pushed")?.model?.version).toBe("1.0.0");
  });

  it("is served on while the store is away, and read again afterwards", async () => {
    const store = stage();
    store.publish("acme/pushed", "1.0.0");
    await using registry = await store.open(20);
    store.away = true;
    store.publish("acme/pushed", "1.1.0");
    store.notify();
    const { reads } = store;
    await expect.poll(() => store.reads).toBeGreaterThan(reads + 2);
    expect(registry.route("acme/pushed")?.model?.version).toBe("1.0.0");
    store.away = false;
    await expect.poll(() => registry.route("acme/pushed")?.model?.version).toBe("1.1.0");
  });

  it("reads the content of a version once, whatever its state becomes", async () => {
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

it("reads the keys of a version's weights again when it was removed and pushed again", async () => {
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

describe("the version that serves an endpoint", () => {
  it("is the newest enabled one; a disabled one serves nothing and is no longer found", async () => {
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

  it("is none while the endpoint is withheld", async () => {
    const store = stage({ isWithheld: (endpoint) => endpoint === "acme/pushed" });
    store.publish("acme/pushed", "1.0.0");
    await using registry = await store.open();
    expect(registry.route("acme/pushed")).toBeUndefined();
    expect(registry.find("acme/pushed", "1.0.0")).toBeUndefined();
    expect(registry.list().map(({ endpoint }) => endpoint)).toEqual(["acme/folder"]);
    expect(registry.hasApp("acme/pushed")).toBe(false);
    expect(registry.isWithheld?.("acme/pushed")).toBe(true);
  });

  it("is a newer pushed one before that of the models folder, until it is disabled", async () => {
    const store = stage();
    store.publish("acme/folder", "1.1.0");
    await using registry = await store.open();
    expect(registry.route("acme/folder")?.model?.version).toBe("1.1.0");
    expect(registry.list().map(({ version }) => version)).toEqual(["1.1.0", "1.0.0"]);
    store.publish("acme/folder", "1.1.0", "disabled");
    await registry.refresh();
    expect(registry.route("acme/folder")?.model?.version).toBe("1.0.0");
  });

  it("is chosen in a rollout by the request's id, the same in every process", async () => {
    const store = stage();
    store.publish("acme/folder", "1.1.0");
    store.rollOut({ endpoint: "acme/folder", fromVersion: "1.0.0", toVersion: "1.1.0", share: 25 });
    await using one = await store.open();
    await using other = await store.open();
    const ids = Array.from({ length: 2000 }, (_, i) => `request-${i}`);
    const chosen = ids.filter((id) => one.route("acme/folder", id)?.model?.version === "1.1.0");
    expect(chosen.length / ids.length).toBeGreaterThan(0.21);
    expect(chosen.length / ids.length).toBeLessThan(0.29);
    expect(chosen).toEqual(ids.filter((id) => rolloutBucket("acme/folder", id) < 25));
    expect(
      ids.every(
        (id) =>
          one.route("acme/folder", id)?.model?.version === other.route("acme/folder", id)?.model?.version,
      ),
    ).toBe(true);
    // Without a request, as for documentation, it is the version that most callers get.
    expect(one.route("acme/folder")?.model?.version).toBe("1.0.0");
  });
});

it("serves the older version to everybody when a rollout is rolled back while it is read", async () => {
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
  it("prefers an owner's flag to the one for everybody, and applies a share to owners", async () => {
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

describe("a version whose schema takes too long", () => {
  const fields = Array.from({ length: 1_333 }, (_, at) => [`f${at}`, { type: "string", title: "x" }]);
  const schemas = {
    input: { type: "object", properties: Object.fromEntries(fields) },
    output: { type: "object" },
  };
  const reason = expect.stringMatching(/^schemas\/input\.json: takes too long to compile: .* more than 1000/);

  it("to compile is not served, and listed with the reason; the version before it goes on", async () => {
    const store = stage();
    store.publish("acme/pushed", "1.0.0");
    store.publish("acme/pushed", "2.0.0", "enabled", [], { schemas });
    await using registry = await store.open();
    expect(registry.route("acme/pushed")?.model?.version).toBe("1.0.0");
    expect(registry.find("acme/pushed", "2.0.0")).toBeUndefined();
    expect(registry.refused()).toEqual([
      expect.objectContaining({ endpoint: "acme/pushed", version: "2.0.0", state: "enabled", reason }),
    ]);
    store.publish("acme/other", "1.0.0");
    await registry.refresh();
    expect(store.errors).toEqual([
      expect.stringMatching(/^acme\/pushed 2\.0\.0 is not served: schemas\/input\.json: takes too long/),
    ]);
  });

  it("to check, since it contains itself in two ways, is not served either", async () => {
    const store = stage();
    const input = { type: "object", properties: {}, oneOf: [{ not: { $ref: "#" } }, { not: { $ref: "#" } }] };
    store.publish("acme/pushed", "1.0.0", "enabled", [], { schemas: { ...schemas, input } });
    await using registry = await store.open();
    expect(registry.route("acme/pushed")).toBeUndefined();
    expect(registry.refused()).toEqual([
      expect.objectContaining({
        reason: expect.stringMatching(/: the schema contains itself in several ways/),
      }),
    ]);
  });

  it("is no longer listed as refused once it is removed from the store or mended", async () => {
    const store = stage();
    store.publish("acme/pushed", "2.0.0", "enabled", [], { schemas });
    await using registry = await store.open();
    expect(registry.refused()).toHaveLength(1);
    store.publish("acme/pushed", "2.0.0");
    await registry.refresh();
    expect(registry.refused()).toEqual([]);
    expect(registry.route("acme/pushed")?.model?.version).toBe("2.0.0");
  });
});
