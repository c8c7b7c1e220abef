import { describe, expect, it } from "vitest";
import { leaversFor } from "./eviction.ts";

const resident = (name: string, needMiB: number, lastUsedMs: number, pinned = false) => ({
  name,
  needMiB,
  lastUsedMs,
  pinned,
});
const names = (chosen: { name: string }[] | undefined) => chosen?.map(({ name }) => name);

describe("who leaves when room is needed", () => {
  it("nobody, when there is room", () => {
    expect(leaversFor(100, 100, [resident("a", 50, 1)])).toEqual([]);
  });

  it("the least recently used first, and no more than needed", () => {
    const idle = [resident("new", 100, 3), resident("old", 100, 1), resident("middle", 100, 2)];
    expect(names(leaversFor(150, 50, idle))).toEqual(["old"]);
    expect(names(leaversFor(250, 50, idle))).toEqual(["old", "middle"]);
  });

  it("a pinned one only when nothing else helps", () => {
    const idle = [resident("pinned", 100, 1, true), resident("plain", 100, 2)];
    expect(names(leaversFor(100, 0, idle))).toEqual(["plain"]);
    expect(names(leaversFor(200, 0, idle))).toEqual(["plain", "pinned"]);
  });

  it("a small one stays when a large one had to leave anyway", () => {
    expect(names(leaversFor(300, 0, [resident("small", 50, 1), resident("large", 300, 2)]))).toEqual([
      "large",
    ]);
  });

  it("nobody, when not even all of them would do", () => {
    expect(leaversFor(300, 50, [resident("a", 100, 1), resident("b", 100, 2)])).toBeUndefined();
  });
});
