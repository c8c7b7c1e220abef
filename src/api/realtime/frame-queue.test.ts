import { setImmediate as nextTurn } from "node:timers/promises";
import { beforeEach, describe, expect, it } from "vitest";
import { LIMITS } from "../../core/limits.ts";
import { Budget } from "../limits/budget.ts";
import { Turns } from "../limits/turns.ts";
import { FrameQueue, type Piece } from "./frame-queue.ts";

const LARGE = LIMITS.frameTurnBytesMin;
const LONG_MS = LIMITS.turnWithoutRestMs;

let clock: { nowMs: number };
let rests: { ms: number; wake: () => void }[];
let turns: Turns;
let bodies: Budget;
let done: string[];
let errors: unknown[];
let waiting: boolean[];
beforeEach(() => {
  [rests, done, errors, waiting] = [[], [], [], []];
  // Those of this test alone: a turn of the one before it may not have ended.
  const [ownClock, ownRests] = [{ nowMs: 0 }, rests];
  clock = ownClock;
  turns = new Turns({
    nowMs: () => ownClock.nowMs,
    rest: (ms) => new Promise((wake) => ownRests.push({ ms, wake })),
  });
  bodies = new Budget({ things: "bytes", remedy: "", ofOwner: () => 10 * LARGE });
});

const open = (ownerId = "ann"): FrameQueue =>
  new FrameQueue({
    turns,
    ownerId,
    hold: bodies.acquire(ownerId, 0),
    onError: (error) => void errors.push(error),
    onWaiting: (isWaiting) => void waiting.push(isWaiting),
  });

/** Work in pieces of these lengths. */
const work = (name: string, ...piecesMs: number[]): Piece => {
  const piece =
    (index: number): Piece =>
    () => {
      clock.nowMs += piecesMs[index] ?? 0;
      done.push(piecesMs.length > 1 ? `${name}.${index + 1}` : name);
      return index + 1 < piecesMs.length ? piece(index + 1) : undefined;
    };
  return piece(0);
};

const woken = async (): Promise<void> => {
  await expect.poll(() => rests.length).toBeGreaterThan(0);
  for (const { wake } of rests.splice(0)) wake();
};

describe("a large frame", () => {
  it("is worked on in turns, a piece in each, and others have theirs meanwhile", async () => {
    const seen: number[] = [];
    open().add(LARGE, work("ann", 0, 0, 0));
    open("bob").add(LARGE, work("bob", 0, 0, 0));
    expect(done).toEqual([]);
    while (done.length < 6) {
      const before = done.length;
      await nextTurn();
      seen.push(done.length - before);
    }
    expect(Math.max(...seen)).toBe(1);
    expect(done).toEqual(["ann.1", "bob.1", "ann.2", "bob.2", "ann.3", "bob.3"]);
  });

  it("lets its owner rest on all sockets, and nobody else", async () => {
    open().add(LARGE, work("first", LONG_MS));
    open().add(LARGE, work("second", 0));
    await expect.poll(() => rests.map(({ ms }) => ms)).toEqual([LONG_MS * LIMITS.turnRestFactor]);
    open("bob").add(LARGE, work("bob", 0));
    await expect.poll(() => done).toEqual(["first", "bob"]);
    await woken();
    await expect.poll(() => done).toEqual(["first", "bob", "second"]);
  });

  it("holds up the frames behind it, small ones too, and counts with them until they are done", async () => {
    const queue = open();
    const blocker = open();
    blocker.add(LARGE, work("blocker", LONG_MS));
    await expect.poll(() => rests.length).toBe(1);
    queue.add(LARGE, work("large", 0));
    queue.add(10, work("small", 0));
    queue.after(() => void done.push("after"));
    queue.add(10, work("last", 0));
    expect([queue.busy, queue.bytes, bodies.held]).toEqual([true, LARGE + 20, LARGE + 20]);
    await woken();
    await expect.poll(() => queue.busy).toBe(false);
    expect(done).toEqual(["blocker", "large", "small", "after", "last"]);
    expect([queue.bytes, bodies.held]).toEqual([0, 0]);
    expect(waiting).toEqual([true, false, true, false]);
  });

  it("is refused when its owner has too many bytes in memory, and those before it are done", async () => {
    const queue = open();
    queue.add(9 * LARGE, work("first", 0));
    expect(() => queue.add(2 * LARGE, work("second", 0))).toThrow("This would exceed your limit");
    await expect.poll(() => queue.busy).toBe(false);
    expect([done, bodies.held]).toEqual([["first"], 0]);
  });

  it("that fails ends alone", async () => {
    const queue = open();
    const failing: Piece = () => () => {
      throw new Error("no frame");
    };
    queue.add(LARGE, failing);
    queue.add(10, failing);
    queue.add(10, work("next", 0));
    await expect.poll(() => done).toEqual(["next"]);
    expect(errors).toEqual([new Error("no frame"), new Error("no frame")]);
  });
});

describe("small frames", () => {
  it("are done at once, until they have had their owner's time in this turn of the loop", async () => {
    const [first, second] = [open(), open()];
    first.add(10, work("1", LONG_MS / 2));
    second.add(10, work("2", LONG_MS / 4, LONG_MS / 4));
    expect(done).toEqual(["1", "2.1", "2.2"]);
    expect(waiting).toEqual([]);
    first.add(10, work("3", 0));
    second.add(10, work("4", 0));
    open("bob").add(10, work("bob", 0));
    expect(done.slice(3)).toEqual(["bob"]);
    await expect.poll(() => done.slice(4)).toEqual(["3", "4"]);
    first.add(10, work("5", 0));
    expect(done.at(-1)).toBe("5");
  });
});

describe("a closed queue", () => {
  it("does nothing more of its frames, and at once what was to come after them", async () => {
    const [blocker, queue] = [open(), open()];
    blocker.add(LARGE, work("blocker", LONG_MS));
    await expect.poll(() => rests.length).toBe(1);
    waiting.length = 0;
    queue.add(LARGE, work("dropped", 0));
    queue.after(() => void done.push("after"));
    queue.add(10, work("dropped too", 0));
    queue.close();
    queue.close();
    expect([done, bodies.held, queue.bytes]).toEqual([["blocker", "after"], 0, 0]);
    expect(waiting).toEqual([true, false]);
    queue.add(10, work("late", 0));
    queue.after(() => void done.push("at once"));
    await woken();
    await expect.poll(() => queue.busy).toBe(false);
    expect(done).toEqual(["blocker", "after", "at once"]);
    expect(waiting).toEqual([true, false]);
  });

  it("stops between two pieces of a frame", async () => {
    const queue = open();
    const pieces = work("frame", 0, 0, 0);
    queue.add(LARGE, () => {
      const next = pieces();
      queue.close();
      return next;
    });
    await expect.poll(() => queue.busy).toBe(false);
    expect([done, bodies.held]).toEqual([["frame.1"], 0]);
  });
});
