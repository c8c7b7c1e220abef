import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { createRowPass, createRowRunner, type NetworkRow } from "./network-rows.ts";
import type { Feed, OnnxSession } from "./onnx-session.ts";

/** A network that doubles its input in `passMs`, and records the number of rows of each pass. */
function doubling(passMs = 0): OnnxSession & { batches: number[] } {
  const batches: number[] = [];
  return {
    batches,
    inputNames: ["x"],
    async run({ x }: Record<string, Feed>) {
      batches.push(x?.shape[0] ?? 0);
      await sleep(passMs); // its input must stay unchanged until then
      return {
        data: Float32Array.from(x?.data as Float32Array, (value) => 2 * value),
        shape: x?.shape ?? [],
      };
    },
  };
}
const rowsOf = (count: number): NetworkRow[] =>
  Array.from({ length: count }, (_, i) => ({ x: { data: Float32Array.of(i, i + 0.5), shape: [2] } }));
const doubled = (count: number) => Array.from({ length: count }, (_, i) => Float32Array.of(2 * i, 2 * i + 1));

describe("createRowPass", () => {
  it("gives each row its own output, and fills a small pass up with copies", async () => {
    const network = doubling();
    expect(await createRowPass(network, 2)(rowsOf(3))).toEqual(doubled(3));
    expect(await createRowPass(network, 1)(rowsOf(1))).toEqual(doubled(1));
    expect(await createRowPass(network, 4)(rowsOf(2))).toEqual(doubled(2));
    expect(await createRowPass(network, 2)([])).toEqual([]);
    expect(network.batches).toEqual([3, 2, 4]);
  });
  it("keeps overlapping passes and passes of other sizes apart", async () => {
    const pass = createRowPass(doubling(5), 2);
    for (let i = 0; i < 2; i++) {
      expect(await Promise.all([3, 3, 1, 4].map((count) => pass(rowsOf(count))))).toEqual(
        [3, 3, 1, 4].map(doubled),
      );
    }
    expect(await pass(rowsOf(4))).toEqual(doubled(4));
    expect(await pass(rowsOf(2))).toEqual(doubled(2));
  });
  it("refuses rows of different shapes", async () => {
    const odd = [...rowsOf(1), { x: { data: Float32Array.of(1), shape: [1] } }];
    await expect(createRowPass(doubling(), 1)(odd)).rejects.toThrow(/Row 1 has another x/);
  });
});

describe("createRowRunner", () => {
  it("runs all rows at once where that is quick", async () => {
    const network = doubling();
    const run = createRowRunner(network, 2);
    await run(rowsOf(2));
    expect(await run(rowsOf(8))).toEqual(doubled(8));
    expect(network.batches).toEqual([2, 8]);
  });
  it("runs a few rows at a time where a pass is slow, and lets the event loop run between", async () => {
    const network = doubling(200);
    const run = createRowRunner(network, 2);
    expect(await run(rowsOf(5))).toEqual(doubled(5));
    expect(network.batches).toEqual([2, 2, 2]);
  });
});
