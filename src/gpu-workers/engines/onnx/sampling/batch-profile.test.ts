import { describe, expect, it } from "vitest";
import { profileBatches, worthwhileItems } from "./batch-profile.ts";

describe("profileBatches", () => {
  it("doubles up to the limit, the limit included, and keeps the best time of each size", async () => {
    const timed: number[] = [];
    const profile = await profileBatches(6, async (items) => {
      timed.push(items);
      return items + timed.length;
    });
    expect(profile.map(({ items }) => items)).toEqual([1, 2, 4, 6]);
    expect(timed.slice(8)).toEqual([1, 2, 4, 6, 1, 2, 4, 6]);
    expect(profile[0]?.passMs).toBe(2);
    expect(await profileBatches(1, async () => 1)).toEqual([{ items: 1, passMs: 1 }]);
  });

  it("stops where passes become too long for a cancel to be seen", async () => {
    const profile = await profileBatches(64, async (items) => items * 50);
    expect(profile.map(({ items }) => items)).toEqual([1, 2, 4]);
  });
});

describe("worthwhileItems", () => {
  it.each([
    ["grows while each item becomes cheaper", [10, 16, 28, 52], 8],
    ["stops where another item gains nothing", [10, 16, 31.9, 63.8], 2],
    ["tolerates one slow measurement", [10, 22, 28, 40], 8],
    ["batches nothing where batches gain nothing", [10, 20, 40, 80], 1],
    ["chooses no pass that is too long", [80, 120, 160, 200], 2],
    ["always allows one item", [900], 1],
  ])("%s", (_, times, items) => {
    expect(worthwhileItems(times.map((passMs, i) => ({ items: 2 ** i, passMs })))).toBe(items);
  });
});
