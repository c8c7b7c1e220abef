import { expect, it } from "vitest";
import { EngineSharing, type Sharer } from "./engine-sharing.ts";

const never = new AbortController().signal;
const sharer = (ownerId: string, over: Partial<Sharer> = {}): Sharer => ({
  ownerId,
  alone: false,
  apart: false,
  ...over,
});

/** Lets runs enter and notes who has. */
function setUp() {
  const sharing = new EngineSharing();
  const entered: string[] = [];
  const enter = async (name: string, who: Sharer, signal = never) => {
    const leave = await sharing.enter(who, signal);
    entered.push(name);
    return leave;
  };
  /** Resolves when everything that may enter has. */
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  return { enter, entered, settled };
}

it("lets runs of all owners share while none is a suspect", async () => {
  const { enter, entered } = setUp();
  await Promise.all([enter("a", sharer("ann")), enter("b", sharer("bob"))]);
  expect(entered).toEqual(["a", "b"]);
});

it("runs a suspect input alone, in the order of arrival", async () => {
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
