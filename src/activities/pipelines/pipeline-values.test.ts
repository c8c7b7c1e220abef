import { Readable } from "node:stream";
import { expect, it } from "vitest";
import { LIMITS } from "../../core/limits.ts";
import { createLoadValue, createStoreValue, createValueMemory } from "./pipeline-values.ts";

it("fails without a retry, with the name of the value, when a value was deleted", async () => {
  const objects = { head: async () => undefined, get: async () => undefined };
  const memory = createValueMemory(async () => "ann");
  await expect(
    createLoadValue({ objects, memory })({ ref: "outcomes/x.json", bytesMax: 10, what: "the output of a" }),
  ).rejects.toMatchObject({
    type: "payload_gone",
    nonRetryable: true,
    message: expect.stringContaining("the output of a"),
  });
});

/** Activities of a process on values that claim to have many bytes, and the values that were read. */
function scene() {
  let owner = "ann";
  const opened: string[] = [];
  const underWay: (() => void)[] = [];
  const objects = {
    head: async () => ({ bytes: LIMITS.pipelineStoredBytesMax, contentType: "application/json" }),
    get: async (ref: string) => {
      opened.push(ref);
      await new Promise<void>((end) => void underWay.push(end));
      return {
        info: { bytes: 1, contentType: "application/json" },
        body: Readable.from([Buffer.from(JSON.stringify({ text: "x".repeat(5_000) }))]),
      };
    },
    put: async () => {},
  };
  const ownerOf = async () => owner;
  const memory = createValueMemory(ownerOf);
  const load = createLoadValue({ objects, memory });
  const store = createStoreValue({ objects, memory, ownerOf, files: {} } as never);
  return {
    opened,
    load: (by: string, ref: string) => {
      owner = by;
      return load({ ref, bytesMax: 100_000, what: "a value", standIns: true });
    },
    store: (by: string, ref: string, value: { text: string }) => {
      owner = by;
      return store({ key: "inputs/x.json", value, standIns: [ref] });
    },
    async end() {
      underWay.shift()?.();
      for (let n = 0; n < 20; n++) await new Promise(setImmediate);
    },
  };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

it("reads no more large values at a time than fit, of all pipelines, and owners take turns", async () => {
  const { load, opened, end } = scene();
  for (let n = 0; n < 5; n++) {
    void load("ann", `ann ${n}`);
    await settled();
  }
  void load("bob", "bob");
  await settled();
  expect(opened).toEqual(["ann 0", "ann 1"]);
  await end();
  await end();
  expect(opened.slice(2)).toEqual(["ann 2", "bob"]);
});

it("counts what is written too: a text that is put back twice", async () => {
  const { store, load, opened, end } = scene();
  const stored = store("ann", "outcomes/a.json", {
    text: "tempera:text:outcomes/a.json#0; tempera:text:outcomes/a.json#0;",
  });
  await settled();
  void load("bob", "bob");
  await settled();
  expect(opened).toEqual(["outcomes/a.json"]);
  await end();
  expect(opened).toEqual(["outcomes/a.json", "bob"]);
  expect(await stored).toEqual({ inline: { text: `${"x".repeat(5_000)} ${"x".repeat(5_000)}` } });
});
