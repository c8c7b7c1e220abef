import { expect, it } from "vitest";
import { RunTurnedAway } from "../../../core/engines/engine.ts";
import { EngineSharing, type Sharer } from "./engine-sharing.ts";

const never = new AbortController().signal;
const sharer = (ownerId: string, over: Partial<Sharer> = {}): Sharer => ({
  ownerId,
  alone: false,
  apart: false,
  ...over,
});

/** Lets runs enter and notes who has. */
function setUp({ waitingMax = 2 } = {}) {
  const clock = { nowMs: 0 };
  const sharing = new EngineSharing(waitingMax, () => clock.nowMs);
  const entered: string[] = [];
  const enter = async (name: string, who: Sharer, signal = never) => {
    const leave = await sharing.enter(who, signal);
    entered.push(name);
    return leave;
  };
  /** Resolves when everything that may enter has. */
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  return { clock, enter, entered, settled };
}

it("lets runs of all owners share while none is a suspect", async () => {
  const { enter, entered } = setUp();
  await Promise.all([enter("a", sharer("ann")), enter("b", sharer("bob"))]);
  expect(entered).toEqual(["a", "b"]);
});

it("runs a suspect input alone, and lets newcomers wait for its turn", async () => {
  const { enter, entered, settled } = setUp();
  const leaveFirst = await enter("first", sharer("ann"));
  const suspect = enter("suspect", sharer("ann", { alone: true, apart: true }));
  const next = enter("next", sharer("bob"));
  await settled();
  expect(entered).toEqual(["first"]);
  leaveFirst();
  const leaveSuspect = await suspect;
  await settled();
  expect(entered).toEqual(["first", "suspect"]);
  leaveSuspect();
  await next;
});

it("keeps a suspect owner apart from others, and lets its requests share", async () => {
  const { enter, entered, settled } = setUp();
  const leave = await enter("one", sharer("mallory", { apart: true }));
  const leaveSecond = await enter("two", sharer("mallory", { apart: true }));
  const other = enter("other", sharer("ann"));
  leave();
  await settled();
  expect(entered).toEqual(["one", "two"]);
  leaveSecond();
  leaveSecond();
  await other;
});

it("lets those behind a waiting run in when it is cancelled", async () => {
  const { enter, entered } = setUp();
  await enter("first", sharer("ann"));
  const controller = new AbortController();
  const suspect = enter("suspect", sharer("mallory", { alone: true }), controller.signal);
  const next = enter("next", sharer("bob"));
  controller.abort(new Error("enough"));
  await expect(suspect).rejects.toThrow("enough");
  await next;
  expect(entered).toEqual(["first", "next"]);
  await expect(enter("late", sharer("ann"), controller.signal)).rejects.toThrow("enough");
});

const APART = { apart: true };
const SUSPECT = { alone: true, apart: true };

it("lets others pass waiting suspects for three times as long as they have waited for them", async () => {
  const { clock, enter, entered, settled } = setUp();
  const leaveFirst = await enter("first", sharer("ann"));
  const suspect = enter("suspect", sharer("mallory", SUSPECT));
  const waiting = enter("waiting", sharer("bob"));
  leaveFirst();
  const leaveSuspect = await suspect;
  const again = enter("again", sharer("mallory", SUSPECT));
  clock.nowMs = 10;
  leaveSuspect();
  const leaveWaiting = await waiting;
  clock.nowMs = 39;
  const leavePassing = await enter("passing", sharer("bob"));
  clock.nowMs = 40;
  const late = enter("late", sharer("bob"));
  leaveWaiting();
  await settled();
  expect(entered).toEqual(["first", "suspect", "waiting", "passing"]);
  leavePassing();
  (await again)();
  await late;
  expect(entered).toEqual(["first", "suspect", "waiting", "passing", "again", "late"]);
});

it("gives an idle engine to a suspect at once, also while suspects rest", async () => {
  const { clock, enter, settled, entered } = setUp();
  const leaveSuspect = await enter("suspect", sharer("mallory", SUSPECT));
  const waiting = enter("waiting", sharer("bob"));
  clock.nowMs = 1000;
  leaveSuspect();
  const leaveWaiting = await waiting;
  const again = enter("again", sharer("mallory", SUSPECT));
  await settled();
  expect(entered).toEqual(["suspect", "waiting"]);
  leaveWaiting();
  await again;
});

it("lets no more requests of a suspect owner in while others wait for it", async () => {
  const { clock, enter, entered, settled } = setUp();
  const leaveOne = await enter("one", sharer("mallory", APART));
  const other = enter("other", sharer("ann"));
  const two = enter("two", sharer("mallory", APART));
  await settled();
  expect(entered).toEqual(["one"]);
  clock.nowMs = 10;
  leaveOne();
  (await other)();
  await two;
  expect(entered).toEqual(["one", "other", "two"]);
});

it("lets suspects rest also when the one that others waited for was cancelled", async () => {
  const { clock, enter } = setUp();
  await enter("first", sharer("ann"));
  const controller = new AbortController();
  const suspect = enter("suspect", sharer("mallory", SUSPECT), controller.signal);
  const stalled = enter("stalled", sharer("bob"));
  clock.nowMs = 10;
  controller.abort(new Error("enough"));
  await expect(suspect).rejects.toThrow("enough");
  await stalled;
  void enter("again", sharer("mallory", SUSPECT));
  await enter("passing", sharer("bob"));
});

it("turns suspects away when one of their owner waits, or enough of all owners", async () => {
  const { enter, entered } = setUp({ waitingMax: 2 });
  const leave = await enter("first", sharer("ann"));
  const first = enter("mallory's", sharer("mallory", SUSPECT));
  await expect(enter("another", sharer("mallory", APART))).rejects.toThrow(RunTurnedAway);
  const second = enter("eve's", sharer("eve", APART));
  await expect(enter("bob's", sharer("bob", SUSPECT))).rejects.toThrow(RunTurnedAway);
  leave();
  (await first)();
  await second;
  expect(entered).toEqual(["first", "mallory's", "eve's"]);
});
