import { Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import { type JobSpec, refsOf } from "../../core/job.ts";
import type { JsonObject, Stored } from "../../core/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { KeptNode, PipelinePart } from "../../core/pipeline.ts";
import type { PipelineRun } from "../../core/ports/pipeline-runs.ts";
import { type EarlierRun, rerunJob } from "./rerun-job.ts";

const ID = "019a1b2c-0000-7000-8000-000000000001";

function createApi() {
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
  const off = new Set<string>();
  const registry = {
    pipelines: () => [],
    find: (endpoint: string, version: string) => (`${endpoint}@${version}` === "t/a@1.0.0" ? {} : undefined),
  };
  const flags = { isOn: (kind: string, name: string) => !off.has(`${kind} ${name}`) };
  const api = { objects, registry, flags, findPipeline: async () => undefined, clock: { nowMs: () => 1_000 }, files: {} };
  const read = <T>(value: Stored<T> | undefined): T =>
    value && "inline" in value ? value.inline : (JSON.parse(String(stored.get(value?.ref ?? ""))) as T);
  return { stored, read, off, api: api as unknown as Parameters<typeof rerunJob>[0] };
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
    expect(pipeline).toMatchObject({ plan: { inline: { code: "t/p@1.0.0" } }, cache: true, deadlineMs: 1_000 + LIMITS.pipelineMs });
    const kept = read(pipeline?.kept);
    expect(kept).toEqual({ "1": { ...kept["1"], endpoint: "t/a", version: "1.0.0", output: { inline: { x: 1 } } } });
  });

  it("takes over what an earlier rerun changed, and changes it further", async () => {
    const { api } = createApi();
    const before = earlier([node("1", {}), node("2", {})], { overrides: { "1": { a: 1, b: 1 }, "2": { c: 1 } } });
    const { pipeline } = await rerunJob(api, before, { ...asked, rerun: { from: "2", input: {}, nodes: { "1": { b: 2 } } } });
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

  it("of a definition that is no longer at hand takes the fields that the first run had, and no other", async () => {
    const { api } = createApi();
    const change = (input: JsonObject) => rerunJob(api, earlier([]), { ...asked, rerun: { input, nodes: {} } });
    expect((await change({ prompt: "b" })).input).toEqual({ inline: { prompt: "b", seed: 1 } });
    await expect(change({ colour: "red" })).rejects.toMatchObject({
      code: "input_invalid",
      faults: [{ loc: ["body", "overrides", "input", "colour"] }],
    });
  });

  it("is none where a version that it calls is no longer served, or was switched off since", async () => {
    const { api, off } = createApi();
    const calling = (version: string): EarlierRun =>
      earlier([], { callees: { inline: { "t/a": { kind: "model", endpoint: "t/a", version } } } as unknown as PipelinePart["callees"] });
    await expect(rerunJob(api, calling("0.9.0"), asked)).rejects.toMatchObject({ code: "endpoint_unknown" });
    off.add("behaviour node_cache");
    expect((await rerunJob(api, calling("1.0.0"), asked)).pipeline?.cache).toBe(false);
    for (const flag of ["model t/a", "workflow workflows/execute"]) {
      off.clear();
      off.add(flag);
      await expect(rerunJob(api, calling("1.0.0"), asked)).rejects.toMatchObject({ code: "switched_off" });
    }
  });

  it("of one whose payloads were deleted says so", async () => {
    const { api } = createApi();
    const { job, nodes } = earlier([], { plan: { ref: "inputs/x-plan.json" }, callees: { ref: "inputs/x-callees.json" } });
    await expect(rerunJob(api, { job: { ...job, input: { ref: "gone" } }, nodes }, asked)).rejects.toMatchObject({ code: "payload_gone" });
  });

  it("refuses fields of nodes that are too large to travel", async () => {
    const { api } = createApi();
    const nodes = { "1": { text: "x".repeat(LIMITS.inlineBytesMax) } };
    await expect(rerunJob(api, earlier([node("1", {})]), { ...asked, rerun: { input: {}, nodes } })).rejects.toMatchObject({
      faults: [{ loc: ["body", "overrides", "nodes"] }],
    });
  });
});
