import { Readable } from "node:stream";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { findNearestName } from "../../core/errors/nearest-name.ts";
import { TOMBSTONE } from "../../core/files/transient.ts";
import { inputHash } from "../../core/json/input-hash.ts";
import type { JsonObject, Stored } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { PipelinePart, ReusedNode } from "../../core/pipelines/pipeline.ts";
import type { PipelineRun } from "../../core/pipelines/pipeline-run-store.ts";
import { type JobSpec, refsOf } from "../../core/requests/job.ts";
import { RequestValues, type ValuePorts } from "../limits/request-values.ts";
import { type PreviousRun, rerunJob } from "./rerun-job.ts";

vi.mock("../../core/errors/nearest-name.ts", { spy: true });
vi.mock("../../core/json/input-hash.ts", { spy: true });
beforeEach(() => void vi.clearAllMocks());

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
    files: { countObject: async () => true, uncountObjects: async () => {} },
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

const previous = (nodes: PipelineRun[], part: Partial<PipelinePart> = {}): PreviousRun => ({
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
  } as unknown as PreviousRun["job"],
  nodes,
});

const request = { requestId: "new", rerun: { input: {}, nodes: {} }, cache: true };

type Api = ReturnType<typeof createApi>["api"];
type Again = Parameters<typeof rerunJob>[2];
const runAgain = (
  api: Api,
  run: PreviousRun,
  again: Omit<Again, "values" | "inTurn"> & Partial<Pick<Again, "inTurn">>,
) =>
  rerunJob(api, run, {
    inTurn: async (work) => work(),
    ...again,
    values: new RequestValues(api as unknown as ValuePorts, "ann"),
  });

describe("the job of a rerun", () => {
  it("has the input of the first run, the results of its nodes, and a new deadline", async () => {
    const { api, read } = createApi();
    const { pipeline, input, rerunOf } = await runAgain(api, previous([node("1", { x: 1 })]), request);
    expect({ input, rerunOf }).toEqual({ input: { inline: { prompt: "a", seed: 1 } }, rerunOf: ID });
    expect(pipeline).toMatchObject({
      plan: { inline: { code: "t/p@1.0.0" } },
      cache: true,
      deadlineMs: 1_000 + LIMITS.pipelineMs,
    });
    const results = read(pipeline?.kept);
    expect(results).toEqual({
      "1": { ...results["1"], endpoint: "t/a", version: "1.0.0", output: { inline: { x: 1 } } },
    });
  });

  it.each(["workflows/execute", "t/a"])(
    "is refused while a flag disables %s, itself or a target, for its owner",
    async (off) => {
      const { api } = createApi([off]);
      const targets = {
        inline: { "t/a": { kind: "model", endpoint: "t/a" } },
      } as unknown as PipelinePart["callees"];
      await expect(
        runAgain(api, previous([node("1", {})], { callees: targets }), request),
      ).rejects.toMatchObject({
        code: "disabled_by_operator",
        message: expect.stringContaining(off),
      });
    },
  );

  it("does not read the cache of nodes while a flag disables it", async () => {
    const { pipeline } = await runAgain(createApi(["node_cache"]).api, previous([]), request);
    expect(pipeline?.cache).toBe(false);
  });

  it("is refused when the first run's input was deleted, and its plan with it", async () => {
    const before = previous([], { plan: { ref: "inputs/x-plan.json" } });
    before.job.input = TOMBSTONE;
    await expect(runAgain(createApi().api, before, request)).rejects.toMatchObject({ code: "payload_gone" });
  });

  it("is refused when a version that it calls is no longer served", async () => {
    const targets = {
      inline: { "t/a": { kind: "model", endpoint: "t/a", version: "0.9.0" } },
    } as unknown as PipelinePart["callees"];
    await expect(
      runAgain(createApi().api, previous([], { callees: targets }), request),
    ).rejects.toMatchObject({
      code: "endpoint_unknown",
    });
  });

  it("reuses a nested pipeline's result by the hash of the node's own input", async () => {
    const { api, read } = createApi();
    const called = node("1", { x: 1 });
    called.job.pipeline = { givenHash: "of the node's input" } as PipelinePart;
    const { pipeline } = await runAgain(api, previous([called]), request);
    expect(read(pipeline?.kept)).toMatchObject({ "1": { inputHash: "of the node's input" } });
  });

  it("merges its overrides into those of a previous rerun", async () => {
    const { api } = createApi();
    const before = previous([node("1", {}), node("2", {})], {
      overrides: { "1": { a: 1, b: 1 }, "2": { c: 1 } },
    });
    const { pipeline } = await runAgain(api, before, {
      ...request,
      rerun: { from: "2", input: {}, nodes: { "1": { b: 2 } } },
    });
    expect(pipeline).toMatchObject({ from: "2", overrides: { "1": { a: 1, b: 2 }, "2": { c: 1 } } });
  });

  it("refers to outputs by key when they are too large together", async () => {
    const { api, read, stored } = createApi();
    const text = "x".repeat(LIMITS.inlineBytesMax / 2);
    const nodes = Array.from({ length: LIMITS.pipelineNodesMax }, (_, at) => node(String(at), { text, at }));
    const { pipeline } = await runAgain(api, previous(nodes), request);
    const results: Record<string, ReusedNode> = read(pipeline?.kept);
    expect(Object.keys(results)).toHaveLength(LIMITS.pipelineNodesMax);
    expect(Buffer.byteLength(JSON.stringify(results))).toBeLessThan(LIMITS.pipelinePlanBytesMax);
    // The new request refers to the results too, so that they are not deleted with the previous one.
    expect(refsOf({ input: { inline: {} }, pipeline } as JobSpec)).toEqual(
      expect.arrayContaining(
        Object.values(results).map(({ output: at }) => ("ref" in at ? at.ref : "inline")),
      ),
    );
    const output = results["7"]?.output ?? { ref: "" };
    expect(JSON.parse(String(stored.get("ref" in output ? output.ref : "")))).toEqual({ text, at: 7 });
  });

  it("has at most a few outputs in memory at once", async () => {
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
    await runAgain(api, previous(nodes), request);
    expect(most).toBeLessThanOrEqual(8);
  });

  it("accepts only the fields of the first run when the definition no longer exists", async () => {
    const { api } = createApi();
    const change = (input: JsonObject) =>
      runAgain(api, previous([]), { ...request, rerun: { input, nodes: {} } });
    expect((await change({ prompt: "b" })).input).toEqual({ inline: { prompt: "b", seed: 1 } });
    await expect(change({ colour: "red" })).rejects.toMatchObject({
      code: "input_invalid",
      faults: [{ loc: ["body", "overrides", "input", "colour"] }],
    });
  });

  it("stores large fields of nodes apart, and merges them into those of the next rerun", async () => {
    const { api, read } = createApi();
    const text = "x".repeat(LIMITS.pipelineValueBytesMax);
    const runs = previous([node("1", {})]);
    const rerun = { input: {}, nodes: { "1": { text } } };
    const { pipeline } = await runAgain(api, runs, { ...request, rerun });
    expect(pipeline).not.toHaveProperty("overrides");
    expect(read({ ref: pipeline?.overridesRef ?? "" })).toEqual({ "1": { text } });
    const next = await runAgain(
      api,
      previous([node("1", {})], { overridesRef: pipeline?.overridesRef ?? "" }),
      {
        ...request,
        requestId: "newer",
        rerun: { input: {}, nodes: { "1": { n: 2 } } },
      },
    );
    expect(read({ ref: next.pipeline?.overridesRef ?? "" })).toEqual({ "1": { text, n: 2 } });
  });

  it("refuses fields that the model of a node does not have, with the nearest one", async () => {
    const { api } = createApi();
    const schemas = { input: { type: "object", properties: { prompt: {}, seed: {} } } };
    api.registry.find = () => ({ schemas }) as unknown as ReturnType<typeof api.registry.find>;
    const rerun = { input: {}, nodes: { "1": { promt: "x", seed: 1 } } };
    const callees = { inline: { "t/a": { kind: "model", endpoint: "t/a", version: "1.0.0" } } };
    await expect(
      runAgain(api, previous([node("1", {})], { callees } as never), { ...request, rerun }),
    ).rejects.toMatchObject({
      code: "input_invalid",
      faults: [
        {
          loc: ["body", "overrides", "nodes", "1", "promt"],
          msg: "Value error, t/a has no such field; did you mean 'prompt'?",
        },
      ],
    });
  });

  it("refuses fields that a nested pipeline does not have, also of a node that has not run", async () => {
    const { api } = createApi();
    const target = { kind: "pipeline", endpoint: "t/a", version: "1.0.0" };
    const input = { type: "object", properties: { prompt: {}, seed: {} } };
    const graph = { nodes: [{ id: "2", endpoint: "t/a", input: {}, depends: ["1"] }], output: {} };
    const part = {
      callees: { inline: { "t/a": { ...target, input } } },
      plan: { inline: { graph } },
    } as unknown as Partial<PipelinePart>;
    const rerun = { input: {}, nodes: { "1": { promt: "x" }, "2": { sed: 1, seed: 1 } } };
    await expect(runAgain(api, previous([node("1", {})], part), { ...request, rerun })).rejects.toMatchObject(
      {
        code: "input_invalid",
        faults: [
          {
            loc: ["body", "overrides", "nodes", "1", "promt"],
            msg: "Value error, t/a has no such field; did you mean 'prompt'?",
          },
          {
            loc: ["body", "overrides", "nodes", "2", "sed"],
            msg: "Value error, t/a has no such field; did you mean 'seed'?",
          },
        ],
      },
    );
  });

  it("refuses fields of nodes that are too large", async () => {
    const { api } = createApi();
    const nodes = { "1": { list: Array.from({ length: 100_000 }, () => 1_000_000) } };
    await expect(
      runAgain(api, previous([node("1", {})]), { ...request, rerun: { input: {}, nodes } }),
    ).rejects.toMatchObject({
      faults: [{ loc: ["body", "overrides", "nodes"] }],
    });
  });
});

describe("the work for a rerun", () => {
  const unknown = Object.fromEntries(Array.from({ length: 1_000 }, (_, at) => [`field_${at}`, 1]));
  const input = { type: "object", properties: { prompt: { type: "string" } } };
  const callees = { inline: { "t/a": { kind: "pipeline", input } } } as unknown as PipelinePart["callees"];
  const again = { ...request, rerun: { input: {}, nodes: { "1": unknown } } };

  it("compares as many unknown fields with the names that there are as are answered", async () => {
    const { api } = createApi();
    await expect(runAgain(api, previous([node("1", {})], { callees }), again)).rejects.toMatchObject({
      code: "input_invalid",
      faults: { length: LIMITS.inputFaultsMax },
    });
    expect(findNearestName).toHaveBeenCalledTimes(LIMITS.inputFaultsMax);
  });

  it("compares them in the turn of its owner", async () => {
    const { api } = createApi();
    const compared: number[] = [];
    const inTurn: Again["inTurn"] = async (work) => {
      try {
        return await work();
      } finally {
        compared.push(vi.mocked(findNearestName).mock.calls.length);
      }
    };
    await expect(
      runAgain(api, previous([node("1", {})], { callees }), { ...again, inTurn }),
    ).rejects.toMatchObject({ code: "input_invalid" });
    expect(compared).toContain(LIMITS.inputFaultsMax);
  });

  it("hashes the inputs of nodes with the hash of the runtime, not with that of workflows", async () => {
    const { api, read } = createApi();
    const job = await runAgain(api, previous([node("1", {})]), request);
    expect(inputHash).not.toHaveBeenCalled();
    const kept = read<Record<string, ReusedNode>>(job.pipeline?.kept as Stored<Record<string, ReusedNode>>);
    expect(kept["1"]?.inputHash).toBe(inputHash({ n: "1" }));
  });
});
