import { beforeEach, describe, expect, it } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { PipelineName, SavedPipeline } from "../../core/pipelines/saved-pipeline.ts";
import type { FindPipeline } from "../../registry/registry.ts";
import { SchemaThread } from "../../registry/schema-thread/schema-thread.ts";
import { createSavedPipelines } from "./saved-pipelines.ts";

const saved = (over: Partial<SavedPipeline> = {}): SavedPipeline => ({
  ownerId: "ann",
  name: "video",
  title: "Video",
  isPublic: false,
  tags: [],
  version: 1,
  calls: [],
  createdAtMs: 0,
  updatedAtMs: 0,
  contents: {},
  compiled: {
    graph: { nodes: [], output: {} },
    schemas: { input: { type: "object" }, output: {} },
    calls: [],
  },
  ...over,
});

/** Pipelines in memory, with a switch for an outage, a count of the reads, and a hold on their answers. */
function createStore() {
  const all = new Map<string, SavedPipeline>();
  const listeners = new Set<(name: PipelineName) => void>();
  const state = { away: false, reads: 0, hold: Promise.resolve() };
  return {
    state,
    put(one: SavedPipeline) {
      all.set(`${one.ownerId}/${one.name}`, one);
      for (const listener of listeners) listener(one);
    },
    async find({ ownerId, name }: PipelineName) {
      state.reads += 1;
      if (state.away) throw new TemperaError("store_unavailable");
      const found = all.get(`${ownerId}/${name}`);
      await state.hold;
      return found;
    },
    async onChange(listener: (name: PipelineName) => void) {
      listeners.add(listener);
      return async () => void listeners.delete(listener);
    },
  };
}

let store: ReturnType<typeof createStore>;
let now: number;
let findPipeline: FindPipeline;
beforeEach(async () => {
  store = createStore();
  now = 1_000_000;
  ({ findPipeline } = await createSavedPipelines({
    pipelines: store,
    clock: { nowMs: () => now },
    schemaThread: new SchemaThread(),
  }));
});
const version = async (endpoint = "workflows/ann/video", ownerId = "ann") =>
  (await findPipeline(endpoint, ownerId))?.pipeline.version;

describe("saved pipelines of a gateway", () => {
  it("are read once for any number of callers until they expire", async () => {
    store.put(saved());
    expect(await Promise.all([version(), version(), version("workflows//ann/video/")])).toEqual([
      "1",
      "1",
      "1",
    ]);
    expect(await version()).toBe("1");
    expect(store.state.reads).toBe(1);
    now += LIMITS.pipelineCacheMs;
    expect(await version()).toBe("1");
    expect(store.state.reads).toBe(2);
  });

  it("are found by their owner, and by everybody when public", async () => {
    store.put(saved());
    store.put(saved({ name: "open", isPublic: true }));
    expect(await version("workflows/ann/video", "bob")).toBeUndefined();
    expect(await version("workflows/ann/open", "bob")).toBe("1");
    expect((await findPipeline("workflows/ann/video", "ann"))?.pipeline).toMatchObject({
      endpoint: "workflows/ann/video",
      ownerId: "ann",
    });
    expect((await findPipeline("workflows/ann/open", "bob"))?.pipeline).not.toHaveProperty("ownerId");
    for (const other of ["workflows/ann", "workflows/ann/video/more", "comfy/ann/video", "ann/video"])
      expect(await version(other)).toBeUndefined();
  });

  it("are checked in the turns of the caller, not of their author", async () => {
    const input = { type: "object", properties: { n: { type: "integer" } } };
    const { compiled } = saved();
    store.put(saved({ isPublic: true, compiled: { ...compiled, schemas: { ...compiled.schemas, input } } }));
    const route = await findPipeline("workflows/ann/video", "bob");
    const checks = Array.from({ length: LIMITS.schemaTasksWaitingMax + 1 }, () =>
      route?.checkInput({ n: 1 }),
    );
    await expect(route?.checkInput({ n: 1 })).rejects.toMatchObject({ code: "rate_limited" });
    expect(await (await findPipeline("workflows/ann/video", "ann"))?.checkInput({ n: 1 })).toMatchObject({
      input: { n: 1 },
    });
    await Promise.all(checks);
  });

  it("change as soon as the database announces it", async () => {
    store.put(saved());
    await version();
    store.put(saved({ version: 2 }));
    expect(await version()).toBe("2");
  });

  it("are not cached while they are missing: a new one can be called as soon as it is saved", async () => {
    expect(await version()).toBeUndefined();
    store.put(saved());
    expect(await version()).toBe("1");
  });

  it("are not cached when they changed while they were read", async () => {
    store.put(saved());
    let release = (): void => {};
    store.state.hold = new Promise((resolve) => {
      release = resolve;
    });
    const early = version();
    await expect.poll(() => store.state.reads).toBe(1);
    store.put(saved({ version: 2 }));
    const late = version();
    release();
    expect(await early).toBe("1");
    expect(await late).toBe("2");
    expect(await version()).toBe("2");
  });

  it("are served on while the store is away, once they were read", async () => {
    store.put(saved());
    await version();
    store.state.away = true;
    now += LIMITS.pipelineCacheMs;
    expect(await version()).toBe("1");
    expect(await version()).toBe("1");
    expect(store.state.reads).toBe(2);
    await expect(version("workflows/ann/other")).rejects.toMatchObject({ code: "store_unavailable" });
  });
});
