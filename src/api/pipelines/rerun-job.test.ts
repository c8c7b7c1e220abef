import { Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import { type JobSpec, refsOf } from "../../core/requests/job.ts";
import type { JsonObject, Stored } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { KeptNode, PipelinePart } from "../../core/pipelines/pipeline.ts";
import type { PipelineRun } from "../../core/pipelines/pipeline-run-store.ts";
import { GONE } from "../../core/files/stored-value.ts";
import { type EarlierRun, rerunJob } from "./rerun-job.ts";

const ID = "019a1b2c-0000-7000-8000-000000000001";

function createApi(off: string[] = []) {
  const stored = new Map<string, Buffer>();
  const info = (bytes: Buffer) => ({ bytes: bytes.length, contentType: "application/json" });
  const objects = {
    put: async (key: string, body: Buffer) => void stored.set(key, body),
    head: async (key: string) => (stored.has(key) ? info(stored.get(key) as Buffer) : undefined),
    get: async (key: string) => {
      const body = stored.get(key);
      return body && { info: info(body), body: Readable.from([body], { objectMode: false }) };
    },
  };
  const registry = {
    pipelines: () => [],
    find: (_: string, version: string) => (version === "0.9.0" ? undefined : {}),
  };
  const flags = { isOn: (_: string, name: string) => !off.includes(name) };
  const api = {
    objects,
    registry,
    findPipeline: async () => undefined,
    clock: { nowMs: () => 1_000 },
    files: {},
    flags,
  };
  const read = <T>(value: Stored<T> | undefined): T =>
    value && "inline" in value ? value.inline : (JSON.parse(String(stored.get(value?.ref ?? ""))) as T);
  return { stored, read, api: api as unknown as Parameters<typeof rerunJob>[0] };
}

const node = (id: string, output: JsonObject): PipelineRun => ({
  job: {
    requestId: `019a1b2c-0000-7000-8000-${id.padStart(12, "0")}`,
    endpoint: "t/a",
    version: "1.0.0",
    input: { inline: { n: id } },
    node: { pipelineId: ID, id },
  } as unknown as JobSpec,
  outcome: { ok: true, output: { inline: output }, metrics: {} },
});

const earlier = (nodes: PipelineRun[], part: Partial<PipelinePart> = {}): EarlierRun => ({
  job: {
    requestId: ID,
    ownerId: "ann",
    endpoint: "workflows/execute",
    version: "1",
    modelDigest: "d",
    input: { inline: { prompt: "a", seed: 1 } },
    pipeline: {
      plan: { inline: { code: "t/p@1.0.0" } },
      callees: { inline: {} },
      depth: 0,
      deadlineMs: 1,
      cache: false,
      ...part,
    },
  } as unknown as EarlierRun["job"],
  nodes,
});

const asked = { requestId: "new", rerun: { input: {}, nodes: {} }, cache: true };

describe("the job of a rerun", () => {
  it("has what the first run had, what its nodes gave, and a time of its own", async () => {
    const { api, read } = createApi();
    const { pipeline, input, rerunOf } = await rerunJob(api, earlier([node("1", { x: 1 })]), asked);
    expect({ input, rerunOf }).toEqual({ input: { inline: { prompt: "a", seed: 1 } }, rerunOf: ID });
    expect(pipeline).toMatchObject({
      plan: { inline: { code: "t/p@1.0.0" } },
      cache: true,
      deadlineMs: 1_000 + LIMITS.pipelineMs,
    });
    const kept = read(pipeline?.kept);
    expect(kept).toEqual({
      "1": { ...kept["1"], endpoint: "t/a", version: "1.0.0", output: { inline: { x: 1 } } },
    });
  });

  it.each(["workflows/execute", "t/a"])(
    "is refused while a flag keeps %s, itself or what it calls, from its owner",
    async (off) => {
      const { api } = createApi([off]);
      const callees = {
        inline: { "t/a": { kind: "model", endpoint: "t/a" } },
      } as unknown as PipelinePart["callees"];
      await expect(rerunJob(api, earlier([node("1", {})], { callees }), asked)).rejects.toMatchObject({
        code: "switched_off",
        message: expect.stringContaining(off),
      });
    },
  );

  it("runs every node that it does not keep when the cache of nodes is switched off", async () => {
    const { pipeline } = await rerunJob(createApi(["node_cache"]).api, earlier([]), asked);
    expect(pipeline?.cache).toBe(false);
  });

  it("of a run whose input is not kept any more says so, though its plan has gone with it", async () => {
    const before = earlier([], { plan: { ref: "inputs/x-plan.json" } });
    before.job.input = GONE;
    await expect(rerunJob(createApi().api, before, asked)).rejects.toMatchObject({ code: "payload_gone" });
  });

  it("is none where a version that it calls is no longer served", async () => {
    const callees = {
      inline: { "t/a": { kind: "model", endpoint: "t/a", version: "0.9.0" } },
    } as unknown as PipelinePart["callees"];
    await expect(rerunJob(createApi().api, earlier([], { callees }), asked)).rejects.toMatchObject({
      code: "endpoint_unknown",
    });
  });

  it("keeps a node that called a pipeline under what it was given, not under what its check made of that", async () => {
    const { api, read } = createApi();
    const called = node("1", { x: 1 });
    called.job.pipeline = { givenHash: "of what it was given" } as PipelinePart;
    const { pipeline } = await rerunJob(api, earlier([called]), asked);
    expect(read(pipeline?.kept)).toMatchObject({ "1": { inputHash: "of what it was given" } });
  });

  it("takes over what an earlier rerun changed, and changes it further", async () => {
    const { api } = createApi();
    const before = earlier([node("1", {}), node("2", {})], {
      overrides: { "1": { a: 1, b: 1 }, "2": { c: 1 } },
    });
    const { pipeline } = await rerunJob(api, before, {
      ...asked,
      rerun: { from: "2", input: {}, nodes: { "1": { b: 2 } } },
    });
    expect(pipeline).toMatchObject({ from: "2", overrides: { "1": { a: 1, b: 2 }, "2": { c: 1 } } });
  });

  it("gives outputs that are together too much for a workflow by where they lie", async () => {
    const { api, read, stored } = createApi();
    const text = "x".repeat(LIMITS.inlineBytesMax / 2);
    const nodes = Array.from({ length: LIMITS.pipelineNodesMax }, (_, at) => node(String(at), { text, at }));
    const { pipeline } = await rerunJob(api, earlier(nodes), asked);
    const kept: Record<string, KeptNode> = read(pipeline?.kept);
    expect(Object.keys(kept)).toHaveLength(LIMITS.pipelineNodesMax);
    expect(Buffer.byteLength(JSON.stringify(kept))).toBeLessThan(LIMITS.pipelinePlanBytesMax);
    // What is kept is the new request's too, so that it is not deleted with the earlier one's.
    expect(refsOf({ input: { inline: {} }, pipeline } as JobSpec)).toEqual(
      expect.arrayContaining(Object.values(kept).map(({ output: at }) => ("ref" in at ? at.ref : "inline"))),
    );
    const output = kept["7"]?.output ?? { ref: "" };
    expect(JSON.parse(String(stored.get("ref" in output ? output.ref : "")))).toEqual({ text, at: 7 });
  });

  it("has a few outputs in memory at once, however many nodes there are", async () => {
    const { api, stored } = createApi();
    const nodes = Array.from({ length: 100 }, (_, at) => node(String(at), {}));
    for (const [at, { outcome }] of nodes.entries())
      if (outcome?.ok) outcome.output = { ref: `outcomes/${at}.json` };
    for (const at of nodes.keys()) stored.set(`outcomes/${at}.json`, Buffer.from("{}"));
    let [reading, most] = [0, 0];
    const { get } = api.objects;
    api.objects.get = async (key) => {
      most = Math.max(most, ++reading);
      await new Promise((resolve) => setImmediate(resolve));
      return get(key).finally(() => reading--);
    };
    await rerunJob(api, earlier(nodes), asked);
    expect(most).toBeLessThanOrEqual(8);
  });

  it("of a definition that is no longer at hand takes the fields that the first run had, and no other", async () => {
    const { api } = createApi();
    const change = (input: JsonObject) =>
      rerunJob(api, earlier([]), { ...asked, rerun: { input, nodes: {} } });
    expect((await change({ prompt: "b" })).input).toEqual({ inline: { prompt: "b", seed: 1 } });
    await expect(change({ colour: "red" })).rejects.toMatchObject({
      code: "input_invalid",
      faults: [{ loc: ["body", "overrides", "input", "colour"] }],
    });
  });

  it("refuses fields of nodes that are too large to travel", async () => {
    const { api } = createApi();
    const nodes = { "1": { text: "x".repeat(LIMITS.inlineBytesMax) } };
    await expect(
      rerunJob(api, earlier([node("1", {})]), { ...asked, rerun: { input: {}, nodes } }),
    ).rejects.toMatchObject({
      faults: [{ loc: ["body", "overrides", "nodes"] }],
    });
  });
});
