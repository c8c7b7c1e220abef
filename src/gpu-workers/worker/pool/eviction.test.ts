import { describe, expect, it } from "vitest";
import { evictionCandidates } from "./eviction.ts";

const resident = (name: string, needMiB: number, lastUsedMs: number, pinned = false) => ({
  name,
  needMiB,
  lastUsedMs,
  pinned,
});
const names = (candidates: { name: string }[] | undefined) => candidates?.map(({ name }) => name);

describe("eviction candidates", () => {
  it("are none when there is room", () => {
    expect(evictionCandidates(100, 100, [resident("a", 50, 1)])).toEqual([]);
  });

  it("are the least recently used first, and no more than needed", () => {
    const idle = [resident("new", 100, 3), resident("old", 100, 1), resident("middle", 100, 2)];
    expect(names(evictionCandidates(150, 50, idle))).toEqual(["old"]);
    expect(names(evictionCandidates(250, 50, idle))).toEqual(["old", "middle"]);
  });

  it("include a pinned one only when the others are not enough", () => {
    const idle = [resident("pinned", 100, 1, true), resident("plain", 100, 2)];
    expect(names(evictionCandidates(100, 0, idle))).toEqual(["plain"]);
    expect(names(evictionCandidates(200, 0, idle))).toEqual(["plain", "pinned"]);
  });

  it("exclude a small one when a large one must be evicted anyway", () => {
    expect(names(evictionCandidates(300, 0, [resident("small", 50, 1), resident("large", 300, 2)]))).toEqual([
      "large",
    ]);
  });

  it("are undefined when evicting all is not enough", () => {
    expect(evictionCandidates(300, 50, [resident("a", 100, 1), resident("b", 100, 2)])).toBeUndefined();
  });
});
