import { setImmediate as othersTurn } from "node:timers/promises";
import { expect, it } from "vitest";
import { LIMITS } from "../../core/limits.ts";
import { Turns } from "./turns.ts";

/** Turns whose work takes the time that it says, and whose owners rest until `wake`. */
function start() {
  let nowMs = 0;
  const rests: { ms: number; wake: () => void }[] = [];
  const turns = new Turns({
    nowMs: () => nowMs,
    rest: (ms) => new Promise((wake) => rests.push({ ms, wake })),
  });
  const done: string[] = [];
  const take = (ownerId: string, name: string, tookMs: number) =>
    turns.take(ownerId, () => {
      nowMs += tookMs;
      done.push(name);
    });
  const resume = (ownerId: string, name: string, tookMs: number) =>
    turns.resume(ownerId, () => {
      nowMs += tookMs;
      done.push(name);
    });
  /** Lets time pass in which somebody else works. */
  const pass = (ms: number): void => {
    nowMs += ms;
  };
  return { take, resume, rests, done, pass };
}

it("does one piece of work in a turn of the event loop", async () => {
  const { take, done } = start();
  const all = ["a", "b", "c"].map((name) => take(name, name, 0));
  const seen: number[] = [];
  while (done.length < 3) {
    await othersTurn();
    seen.push(done.length);
  }
  await Promise.all(all);
  expect(seen.every((count, turn) => count - (seen[turn - 1] ?? 0) <= 1)).toBe(true);
});

it("lets an owner rest after long work, and others go on", async () => {
  const { take, done, rests } = start();
  const longMs = LIMITS.turnWithoutRestMs;
  const first = take("ann", "ann 1", longMs);
  const second = take("ann", "ann 2", 0);
  await Promise.all([first, take("bob", "bob 1", 0), take("bob", "bob 2", 0)]);
  expect(done).toEqual(["ann 1", "bob 1", "bob 2"]);
  expect(rests.map(({ ms }) => ms)).toEqual([longMs * LIMITS.turnRestFactor]);
  rests[0]?.wake();
  await second;
  expect(done.at(-1)).toBe("ann 2");
});

it("rejects with what the work throws, and goes on", async () => {
  const turns = new Turns();
  const failing = turns.take("ann", () => {
    throw new Error("no JSON");
  });
  await expect(failing).rejects.toThrow("no JSON");
  await expect(turns.take("ann", () => "read")).resolves.toBe("read");
});

it("does further work of a call without a rest before it, and lets its owner rest for that too", async () => {
  const { take, resume, done, rests } = start();
  const longMs = LIMITS.turnWithoutRestMs;
  await take("ann", "ann 1", longMs);
  const next = take("ann", "ann 2", 0);
  await expect.poll(() => rests.length).toBe(1);
  await resume("ann", "ann 1, checked", 2 * longMs);
  await othersTurn();
  rests[0]?.wake();
  await expect.poll(() => rests.length).toBe(2);
  await take("bob", "bob 1", 0);
  expect(done).toEqual(["ann 1", "ann 1, checked", "bob 1"]);
  expect(rests.map(({ ms }) => ms)).toEqual([1, 2].map((times) => times * longMs * LIMITS.turnRestFactor));
  rests[1]?.wake();
  await next;
  expect(done.at(-1)).toBe("ann 2");
});

it("lets an owner rest for further work that comes when it does not rest", async () => {
  const { take, resume, rests } = start();
  await resume("ann", "checked", LIMITS.turnWithoutRestMs);
  await expect.poll(() => rests.length).toBe(1);
  let isDone = false;
  const next = take("ann", "ann 1", 0).then(() => {
    isDone = true;
  });
  await take("bob", "bob 1", 0);
  expect(isDone).toBe(false);
  rests[0]?.wake();
  await next;
});

it("lets an owner rest for its own work only, not for that of others in the same turn", async () => {
  const { take, rests, pass } = start();
  const first = take("ann", "ann 1", 0);
  const others = othersTurn().then(() => pass(1_000));
  await Promise.all([first, others]);
  await take("ann", "ann 2", 0);
  expect(rests).toEqual([]);
});
