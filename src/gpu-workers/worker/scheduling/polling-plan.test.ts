import { describe, expect, it } from "vitest";
import { planPolling, type QueueState } from "./polling-plan.ts";

type Named = QueueState & { name: string };

const queue = (name: string, over: Partial<QueueState> = {}): Named => ({
  name,
  needMiB: 100,
  pinned: false,
  lastUsedMs: 0,
  unavailable: false,
  polling: "closed",
  running: 0,
  openSinceMs: 0,
  ...over,
});
const plan = (queues: Named[], budgetMiB: number, nowMs = 0) => {
  const { open, close, drain } = planPolling(queues, { budgetMiB, waitMaxMs: 1000, nowMs });
  const names = (list: Named[]) => list.map(({ name }) => name);
  return { open: names(open), close: names(close), drain: names(drain) };
};
const noChange = { open: [], close: [], drain: [] };

describe("the polling plan", () => {
  it("opens all queues when all fit, and closes an unavailable one", () => {
    expect(plan([queue("a"), queue("b")], 200)).toEqual({ ...noChange, open: ["a", "b"] });
    expect(plan([queue("a"), queue("b", { unavailable: true })], 200)).toEqual({ ...noChange, open: ["a"] });
    expect(plan([queue("a", { polling: "open", unavailable: true, running: 1 })], 200)).toEqual({
      ...noChange,
      close: ["a"],
    });
  });

  it("opens pinned queues first when not all fit, then the most recently used", () => {
    const all = [queue("a", { lastUsedMs: 5 }), queue("b", { lastUsedMs: 9 }), queue("c", { pinned: true })];
    expect(plan(all, 200)).toEqual({ ...noChange, open: ["c", "b"] });
  });

  it("closes an idle queue for waiting requests, and opens theirs once it is closed", () => {
    const idle = queue("a", { polling: "open" });
    const wanted = queue("b", { waitingSinceMs: 0 });
    expect(plan([idle, wanted], 100)).toEqual({ ...noChange, close: ["a"] });
    expect(plan([{ ...idle, polling: "closing" }, wanted], 100)).toEqual(noChange);
    expect(plan([{ ...idle, polling: "closed" }, wanted], 100)).toEqual({ ...noChange, open: ["b"] });
  });

  it("drains a busy queue once others have waited for waitMaxMs", () => {
    const busy = queue("a", { polling: "open", running: 2 });
    const wanted = queue("b", { waitingSinceMs: 0 });
    expect(plan([busy, wanted], 100, 999)).toEqual(noChange);
    expect(plan([busy, wanted], 100, 1000)).toEqual({ ...noChange, drain: ["a"] });
    expect(plan([{ ...busy, polling: "closing" }, wanted], 100, 2000)).toEqual(noChange);
  });

  it("drains the queue first that has been open longest", () => {
    const long = queue("long", { polling: "open", running: 1, openSinceMs: 10, lastUsedMs: 50 });
    const short = queue("short", { polling: "open", running: 1, openSinceMs: 40, lastUsedMs: 20 });
    expect(plan([short, long, queue("c", { waitingSinceMs: 0 })], 200, 1000)).toEqual({
      ...noChange,
      drain: ["long"],
    });
  });

  it("does not let small models keep a large one out for ever", () => {
    const small = queue("small", { polling: "open", running: 1 });
    const large = queue("large", { needMiB: 200, waitingSinceMs: 0 });
    const other = queue("other", { waitingSinceMs: 500 });
    expect(plan([small, large, other], 200, 900)).toEqual({ ...noChange, open: ["other"] });
    expect(plan([small, large, other], 200, 1000)).toEqual({ ...noChange, drain: ["small"] });
  });
});
