import { describe, expect, it } from "vitest";
import type { ModelVersion } from "../core/models/model.ts";
import type { Graph, PipelineVersion } from "../core/pipelines/pipeline.ts";
import type { PipelineRoute, Route } from "./registry.ts";
import { resolveCallTargets } from "./resolve-call-targets.ts";

const model = {
  endpoint: "a/model",
  version: "1.2.0",
  digest: "d",
  retry: {},
  timeouts: { heartbeatMs: 1, runMs: 2, loadMs: 3 },
} as ModelVersion;

/** A saved pipeline whose nodes call these endpoints. */
const saved = (name: string, calls: string[], ownerId = "ann"): PipelineVersion => {
  const graph: Graph = {
    nodes: calls.map((endpoint, i) => ({ id: `n${i}`, endpoint, input: {}, depends: [] })),
    output: {},
  };
  const schemas = { input: {}, output: {} };
  const about = { version: "1.0.0", digest: name, title: "", description: "", category: "", ownerId };
  return {
    ...about,
    endpoint: `workflows/ann/${name}`,
    schemas,
    calls: [...new Set(calls)],
    plan: { graph },
  };
};

const resolve = (pipeline: PipelineVersion, others: PipelineVersion[] = []) =>
  resolveCallTargets(pipeline, {
    ownerId: "ann",
    registry: { route: (endpoint) => (endpoint === model.endpoint ? ({ model } as Route) : undefined) },
    findPipeline: async (endpoint, ownerId) => {
      const found = [pipeline, ...others].find(
        (each) => each.endpoint === endpoint && each.ownerId === ownerId,
      );
      return found && ({ pipeline: found } as PipelineRoute);
    },
  });

describe("the call targets of a pipeline", () => {
  it("are all pinned, with those of the pipelines among them", async () => {
    const inner = saved("inner", ["a/model"]);
    const targets = await resolve(saved("outer", ["workflows/ann/inner"]), [inner]);
    expect(Object.keys(targets).sort()).toEqual(["a/model", "workflows/ann/inner"]);
    expect(targets["a/model"]).toMatchObject({
      kind: "model",
      version: "1.2.0",
      taskQueue: "gpu/a/model/1.2.0",
    });
    expect(targets["workflows/ann/inner"]).toMatchObject({
      kind: "pipeline",
      digest: "inner",
      plan: inner.plan,
    });
  });

  it.each([
    ["a/none", []],
    ["workflows/ann/theirs", [saved("theirs", ["a/model"], "bob")]],
  ])(
    "are refused when %s is missing or another owner's, with its name and its caller's",
    async (endpoint, others) => {
      await expect(resolve(saved("outer", [endpoint]), others)).rejects.toMatchObject({
        code: "endpoint_unknown",
        message: expect.stringContaining(`workflows/ann/outer calls ${endpoint}`),
      });
    },
  );

  it("are refused when they form a cycle, with the cycle", async () => {
    const [a, b] = [saved("a", ["workflows/ann/b"]), saved("b", ["a/model", "workflows/ann/a"])];
    await expect(resolve(a, [b])).rejects.toMatchObject({
      code: "pipeline_limit",
      message: expect.stringContaining("workflows/ann/a → workflows/ann/b → workflows/ann/a"),
    });
    await expect(resolve(saved("self", ["workflows/ann/self"]))).rejects.toMatchObject({
      code: "pipeline_limit",
    });
  });

  it("are refused when they nest too deep or have too many nodes together", async () => {
    const tower = Array.from({ length: 9 }, (_, i) =>
      saved(`t${i}`, [i === 8 ? "a/model" : `workflows/ann/t${i + 1}`]),
    );
    await expect(resolve(tower[0] as PipelineVersion, tower.slice(1))).rejects.toMatchObject({
      message: expect.stringContaining("9 deep"),
    });
    await expect(resolve(tower[1] as PipelineVersion, tower)).resolves.toBeDefined();

    // Each level has thirty times the nodes of the next: counted, not walked.
    const wide = Array.from({ length: 8 }, (_, i) =>
      saved(`w${i}`, Array(30).fill(i === 7 ? "a/model" : `workflows/ann/w${i + 1}`)),
    );
    await expect(resolve(wide[0] as PipelineVersion, wide)).rejects.toMatchObject({
      message: expect.stringContaining("the limit is 500"),
    });
  });
});
