import { setImmediate as nextTurn } from "node:timers/promises";
import { beforeEach, describe, expect, it } from "vitest";
import { LIMITS } from "../../core/limits.ts";
import { Budget } from "../limits/budget.ts";
import { Turns } from "../limits/turns.ts";
import { FrameQueue, type Piece } from "./frame-queue.ts";

const BYTES = 1000;
const heavy = (times = 1) => ({ bytes: times * BYTES, isHeavy: true });
const light = { bytes: 10, isHeavy: false };
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
  bodies = new Budget({ things: "bytes", remedy: "", ofOwner: () => 10 * BYTES });
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

describe("a heavy frame", () => {
  it("is worked on in turns, a piece in each, and others have theirs meanwhile", async () => {
    const seen: number[] = [];
    open().add(heavy(), work("ann", 0, 0, 0));
    open("bob").add(heavy(), work("bob", 0, 0, 0));
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
    open().add(heavy(), work("first", LONG_MS));
    open().add(heavy(), work("second", 0));
    await expect.poll(() => rests.map(({ ms }) => ms)).toEqual([LONG_MS * LIMITS.turnRestFactor]);
    open("bob").add(heavy(), work("bob", 0));
    await expect.poll(() => done).toEqual(["first", "bob"]);
    await woken();
    await expect.poll(() => done).toEqual(["first", "bob", "second"]);
  });

  it("holds up the frames behind it, light ones too, and counts with them until they are done", async () => {
    const queue = open();
    const blocker = open();
    blocker.add(heavy(), work("blocker", LONG_MS));
    await expect.poll(() => rests.length).toBe(1);
    queue.add(heavy(), work("heavy", 0));
    queue.add(light, work("light", 0));
    queue.after(() => void done.push("after"));
    queue.add(light, work("last", 0));
    // Tiny frames take more memory than their bytes.
    const held = BYTES + 20 + 3 * 512;
    expect([queue.busy, queue.bytes, bodies.held]).toEqual([true, held, held]);
    await woken();
    await expect.poll(() => queue.busy).toBe(false);
    expect(done).toEqual(["blocker", "heavy", "light", "after", "last"]);
    expect([queue.bytes, bodies.held]).toEqual([0, 0]);
    expect(waiting).toEqual([true, false, true, false]);
  });

  it("is refused when its owner has too many bytes in memory, and those before it are done", async () => {
    const queue = open();
    queue.add(heavy(9), work("first", 0));
    expect(() => queue.add(heavy(2), work("second", 0))).toThrow("This would exceed your limit");
    await expect.poll(() => queue.busy).toBe(false);
    expect([done, bodies.held]).toEqual([["first"], 0]);
  });

  it("that fails ends alone", async () => {
    const queue = open();
    const failing: Piece = () => () => {
      throw new Error("no frame");
    };
    queue.add(heavy(), failing);
    queue.add(light, failing);
    queue.add(light, work("next", 0));
    await expect.poll(() => done).toEqual(["next"]);
    expect(errors).toEqual([new Error("no frame"), new Error("no frame")]);
  });
});

describe("light frames", () => {
  it("are done at once, until they have had their owner's time in this turn of the loop", async () => {
    const [first, second] = [open(), open()];
    first.add(light, work("1", LONG_MS / 2));
    second.add(light, work("2", LONG_MS / 4, LONG_MS / 4));
    expect(done).toEqual(["1", "2.1", "2.2"]);
    expect(waiting).toEqual([]);
    first.add(light, work("3", 0));
    second.add(light, work("4", 0));
    open("bob").add(light, work("bob", 0));
    expect(done.slice(3)).toEqual(["bob"]);
    await expect.poll(() => done.slice(4)).toEqual(["3", "4"]);
    first.add(light, work("5", 0));
    expect(done.at(-1)).toBe("5");
  });
});

describe("a closed queue", () => {
  it("does nothing more of what waits, and holds nothing", async () => {
    const [blocker, queue] = [open(), open()];
    blocker.add(heavy(), work("blocker", LONG_MS));
    await expect.poll(() => rests.length).toBe(1);
    waiting.length = 0;
    queue.add(heavy(), work("dropped", 0));
    queue.after(() => void done.push("after"));
    queue.add(light, work("dropped too", 0));
    queue.close();
    queue.close();
    expect([done, bodies.held, queue.bytes]).toEqual([["blocker"], 0, 0]);
    expect(waiting).toEqual([true, false]);
    queue.add(light, work("late", 0));
    queue.after(() => void done.push("at once"));
    await woken();
    await expect.poll(() => queue.busy).toBe(false);
    expect(done).toEqual(["blocker", "at once"]);
    expect(waiting).toEqual([true, false]);
  });

  it("stops between two pieces of a frame", async () => {
    const queue = open();
    const pieces = work("frame", 0, 0, 0);
    queue.add(heavy(), () => {
      const next = pieces();
      queue.close();
      return next;
    });
    await expect.poll(() => queue.busy).toBe(false);
    expect([done, bodies.held]).toEqual([["frame.1"], 0]);
  });
});
