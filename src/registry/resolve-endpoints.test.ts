import { describe, expect, it } from "vitest";
import type { ModelVersion } from "../core/models/model.ts";
import type { Graph, PipelineVersion } from "../core/pipelines/pipeline.ts";
import { resolveCallees } from "./resolve-endpoints.ts";
import type { PipelineRoute, Route } from "./registry.ts";

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
  resolveCallees(pipeline, {
    ownerId: "ann",
    registry: { route: (endpoint) => (endpoint === model.endpoint ? ({ model } as Route) : undefined) },
    findPipeline: async (endpoint, ownerId) => {
      const found = [pipeline, ...others].find(
        (each) => each.endpoint === endpoint && each.ownerId === ownerId,
      );
      return found && ({ pipeline: found } as PipelineRoute);
    },
  });

describe("what a pipeline calls", () => {
  it("is pinned whole, with what the pipelines among it call", async () => {
    const inner = saved("inner", ["a/model"]);
    const callees = await resolve(saved("outer", ["workflows/ann/inner"]), [inner]);
    expect(Object.keys(callees).sort()).toEqual(["a/model", "workflows/ann/inner"]);
    expect(callees["a/model"]).toMatchObject({
      kind: "model",
      version: "1.2.0",
      taskQueue: "gpu/a/model/1.2.0",
    });
    expect(callees["workflows/ann/inner"]).toMatchObject({
      kind: "pipeline",
      digest: "inner",
      plan: inner.plan,
    });
  });

  it.each([
    ["a/none", []],
    ["workflows/ann/theirs", [saved("theirs", ["a/model"], "bob")]],
  ])("%s is not there, or another owner's: 404 that names it and who calls it", async (endpoint, others) => {
    await expect(resolve(saved("outer", [endpoint]), others)).rejects.toMatchObject({
      code: "endpoint_unknown",
      message: expect.stringContaining(`workflows/ann/outer calls ${endpoint}`),
    });
  });

  it("in a circle is refused with the circle", async () => {
    const [a, b] = [saved("a", ["workflows/ann/b"]), saved("b", ["a/model", "workflows/ann/a"])];
    await expect(resolve(a, [b])).rejects.toMatchObject({
      code: "pipeline_limit",
      message: expect.stringContaining("workflows/ann/a → workflows/ann/b → workflows/ann/a"),
    });
    await expect(resolve(saved("self", ["workflows/ann/self"]))).rejects.toMatchObject({
      code: "pipeline_limit",
    });
  });

  it("nested too deep, or more nodes together than are run, is refused before it runs", async () => {
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
      message: expect.stringContaining("at most 500"),
    });
  });
});
