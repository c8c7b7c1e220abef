import { describe, expect, it } from "vitest";
import { nextMoves, type QueueState } from "./polling-plan.ts";

type Named = QueueState & { name: string };

const queue = (name: string, over: Partial<QueueState> = {}): Named => ({
  name,
  needMiB: 100,
  pinned: false,
  lastUsedMs: 0,
  out: false,
  polling: "closed",
  running: 0,
  turnSinceMs: 0,
  ...over,
});
const moves = (queues: Named[], budgetMiB: number, nowMs = 0) => {
  const { open, close, drain } = nextMoves(queues, { budgetMiB, turnMs: 1000, nowMs });
  const names = (list: Named[]) => list.map(({ name }) => name);
  return { open: names(open), close: names(close), drain: names(drain) };
};
const nothing = { open: [], close: [], drain: [] };

describe("the rota", () => {
  it("polls all when all fit, and never one that is out of rotation", () => {
    expect(moves([queue("a"), queue("b")], 200)).toEqual({ ...nothing, open: ["a", "b"] });
    expect(moves([queue("a"), queue("b", { out: true })], 200)).toEqual({ ...nothing, open: ["a"] });
    expect(moves([queue("a", { polling: "open", out: true, running: 1 })], 200)).toEqual({
      ...nothing,
      close: ["a"],
    });
  });

  it("when not all fit: the pinned first, then who was used last", () => {
    const all = [queue("a", { lastUsedMs: 5 }), queue("b", { lastUsedMs: 9 }), queue("c", { pinned: true })];
    expect(moves(all, 200)).toEqual({ ...nothing, open: ["c", "b"] });
  });

  it("requests wait: an idle one leaves first, and only then does the other come in", () => {
    const idle = queue("a", { polling: "open" });
    const wanted = queue("b", { waitingSinceMs: 0 });
    expect(moves([idle, wanted], 100)).toEqual({ ...nothing, close: ["a"] });
    expect(moves([{ ...idle, polling: "closing" }, wanted], 100)).toEqual(nothing);
    expect(moves([{ ...idle, polling: "closed" }, wanted], 100)).toEqual({ ...nothing, open: ["b"] });
  });

  it("one at work stays until those that wait have waited a turn; then it takes nothing new", () => {
    const busy = queue("a", { polling: "open", running: 2 });
    const wanted = queue("b", { waitingSinceMs: 0 });
    expect(moves([busy, wanted], 100, 999)).toEqual(nothing);
    expect(moves([busy, wanted], 100, 1000)).toEqual({ ...nothing, drain: ["a"] });
    expect(moves([{ ...busy, polling: "closing" }, wanted], 100, 2000)).toEqual(nothing);
  });

  it("the longest turn ends first", () => {
    const long = queue("long", { polling: "open", running: 1, turnSinceMs: 10, lastUsedMs: 50 });
    const short = queue("short", { polling: "open", running: 1, turnSinceMs: 40, lastUsedMs: 20 });
    expect(moves([short, long, queue("c", { waitingSinceMs: 0 })], 200, 1000)).toEqual({
      ...nothing,
      drain: ["long"],
    });
  });

  it("small ones do not keep a large one out for ever", () => {
    const small = queue("small", { polling: "open", running: 1 });
    const large = queue("large", { needMiB: 200, waitingSinceMs: 0 });
    const other = queue("other", { waitingSinceMs: 500 });
    expect(moves([small, large, other], 200, 900)).toEqual({ ...nothing, open: ["other"] });
    expect(moves([small, large, other], 200, 1000)).toEqual({ ...nothing, drain: ["small"] });
  });
});
