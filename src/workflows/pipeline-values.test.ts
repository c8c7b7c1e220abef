import { beforeEach, describe, expect, it, vi } from "vitest";
import type { Json, JsonObject } from "../core/json/json.ts";
import { LIMITS } from "../core/limits.ts";
import { createPipelineValues } from "./pipeline-values.ts";

/** The object store, as activities reach it; each ends when the test says so. */
const store = vi.hoisted(() => ({
  put: [] as { key: string; apart?: true }[],
  ends: [] as (() => void)[],
  value: null as unknown,
}));
vi.mock("@temporalio/workflow", async (original) => ({
  ...(await original<object>()),
  proxyActivities: () => ({
    storeValue: ({ value: _, ...to }: { key: string; apart?: true; value: unknown }) => {
      store.put.push(to);
      return new Promise((resolve) => store.ends.push(() => resolve({ ref: to.key })));
    },
    loadValue: async () => store.value,
  }),
}));
beforeEach(() => {
  store.put = [];
  store.ends = [];
});

const REQUEST = "019a1b2c-0000-7000-8000-000000000001";
const input = { requestId: REQUEST, what: "input", called: "the input of the node a" } as const;
const output = { ...input, what: "output", called: "the pipeline's output" } as const;
const large = (bytes: number): JsonObject => ({ text: "x".repeat(bytes) });
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe("the values of a pipeline", () => {
  it("travel while they are small, and are named by where they lie when they are not", async () => {
    const values = createPipelineValues({});
    expect(await values.keep({ a: 1 }, input)).toEqual({ inline: { a: 1 } });
    const kept = values.keep(large(LIMITS.inlineBytesMax), input);
    await turn();
    expect(store.put).toEqual([{ key: `inputs/${REQUEST}.json` }]);
    store.ends[0]?.();
    expect(await kept).toEqual({ ref: `inputs/${REQUEST}.json` });
  });

  it("that are not to be stored are apart from every record, however small they are", async () => {
    const values = createPipelineValues({ storeIo: false });
    void values.keep({ prompt: "private" }, input);
    await turn();
    store.ends[0]?.();
    await turn();
    void values.keep({ answer: "private" }, output);
    await turn();
    expect(store.put).toEqual([
      { key: `transient/${REQUEST}/input.json`, apart: true },
      { key: `transient/${REQUEST}/output.json`, apart: true },
    ]);
  });

  it("are refused when they are too large, also those that are so only when they are written out", async () => {
    const values = createPipelineValues({});
    let doubled: Json = "x".repeat(1_000);
    for (let times = 0; times < 60; times++) doubled = [doubled, doubled];
    for (const value of [large(LIMITS.pipelineMadeBytesMax), { doubled }]) {
      await expect(values.keep(value, output)).rejects.toMatchObject({
        type: "pipeline_limit",
        message: expect.stringMatching(/the pipeline's output is larger.*addresses/),
      });
      expect(() => values.refuseLarge(value, "x")).toThrow("larger");
    }
    expect(store.put).toEqual([]);
  });

  it("go to the object store one at a time, since together they would be too much for one message", async () => {
    const values = createPipelineValues({});
    const all = Array.from({ length: 3 }, () => values.keep(large(LIMITS.pipelineMadeBytesMax - 100), input));
    for (let count = 1; count <= 3; count++) {
      await turn();
      expect(store.put).toHaveLength(count);
      store.ends[count - 1]?.();
    }
    expect(await Promise.all(all)).toHaveLength(3);
  });

  it("end the pipeline before they are together too much for its history", async () => {
    const values = createPipelineValues({});
    store.value = large(LIMITS.pipelineValueBytesMax - 100);
    const loads = Math.floor(LIMITS.pipelinePassedBytesMax / LIMITS.pipelineValueBytesMax);
    for (let count = 0; count < loads; count++) await values.load({ ref: "r" }, "the output of the node a");
    await expect(values.load({ ref: "r" }, "the output of the node b")).rejects.toMatchObject({
      type: "pipeline_limit",
      message: expect.stringContaining("the output of the node b"),
    });
  });
});
