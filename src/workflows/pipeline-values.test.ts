import { beforeEach, describe, expect, it, vi } from "vitest";
import type { Json, JsonObject } from "../core/json/json.ts";
import { LIMITS } from "../core/limits.ts";
import { PipelineValues } from "./pipeline-values.ts";

/** The object store behind the activities. Each call ends when the test ends it. */
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
const input = { requestId: REQUEST, what: "input", label: "the input of the node a" } as const;
const output = { ...input, what: "output", label: "the pipeline's output" } as const;
const large = (bytes: number): JsonObject => ({ text: "x".repeat(bytes) });
const nextTick = () => new Promise((resolve) => setImmediate(resolve));

describe("the values of a pipeline", () => {
  it("travel inline while they are small, and as the key of an object when they are large", async () => {
    const values = new PipelineValues({});
    expect(await values.store({ a: 1 }, input)).toEqual({ inline: { a: 1 } });
    const kept = values.store(large(LIMITS.inlineBytesMax), input);
    await nextTick();
    expect(store.put).toEqual([{ key: `inputs/${REQUEST}.json` }]);
    store.ends[0]?.();
    expect(await kept).toEqual({ ref: `inputs/${REQUEST}.json` });
  });

  it("are kept apart from every record, however small, when they must not be stored", async () => {
    const values = new PipelineValues({ storeIo: false });
    void values.store({ prompt: "private" }, input);
    await nextTick();
    store.ends[0]?.();
    await nextTick();
    void values.store({ answer: "private" }, output);
    await nextTick();
    expect(store.put).toEqual([
      { key: `transient/${REQUEST}/input.json`, apart: true },
      { key: `transient/${REQUEST}/output.json`, apart: true },
    ]);
  });

  it("are refused when they are too large, even when only their JSON is", async () => {
    const values = new PipelineValues({});
    let doubled: Json = "x".repeat(1_000);
    for (let times = 0; times < 60; times++) doubled = [doubled, doubled];
    for (const value of [large(LIMITS.pipelineMadeBytesMax), { doubled }]) {
      await expect(values.store(value, output)).rejects.toMatchObject({
        type: "pipeline_limit",
        message: expect.stringMatching(/the pipeline's output is larger.*addresses/),
      });
      expect(() => values.assertSize(value, "x")).toThrow("larger");
    }
    expect(store.put).toEqual([]);
  });

  it("go to the object store one at a time, to fit in one message of Temporal", async () => {
    const values = new PipelineValues({});
    const all = Array.from({ length: 3 }, () =>
      values.store(large(LIMITS.pipelineMadeBytesMax - 100), input),
    );
    for (let count = 1; count <= 3; count++) {
      await nextTick();
      expect(store.put).toHaveLength(count);
      store.ends[count - 1]?.();
    }
    expect(await Promise.all(all)).toHaveLength(3);
  });

  it("end the pipeline before all of them together exceed the limit of its history", async () => {
    const values = new PipelineValues({});
    store.value = large(LIMITS.pipelineValueBytesMax - 100);
    const loads = Math.floor(LIMITS.pipelinePassedBytesMax / LIMITS.pipelineValueBytesMax);
    for (let count = 0; count < loads; count++) await values.load({ ref: "r" }, "the output of the node a");
    await expect(values.load({ ref: "r" }, "the output of the node b")).rejects.toMatchObject({
      type: "pipeline_limit",
      message: expect.stringContaining("the output of the node b"),
    });
  });
});
