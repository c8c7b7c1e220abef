import { expect, it } from "vitest";
import { FairSemaphore } from "./fair-semaphore.ts";
import type { Release } from "./semaphore.ts";

const settled = () => new Promise((resolve) => setImmediate(resolve));

/** A semaphore, and the names of its holders in the order in which they came in. */
function scene(capacity: number) {
  const semaphore = new FairSemaphore(capacity);
  const begun: string[] = [];
  const releases = new Map<string, Release>();
  const ask = (owner: string, name: string, weight?: number): void =>
    void semaphore.acquire(owner, weight).then((release) => {
      begun.push(name);
      releases.set(name, release);
    });
  const end = async (name: string): Promise<void> => {
    releases.get(name)?.();
    await settled();
  };
  return { semaphore, begun, ask, end };
}

it("lets owners take turns, and the calls of one come in their order", async () => {
  const { begun, ask, end } = scene(1);
  for (const n of [1, 2, 3]) ask("ann", `ann ${n}`);
  ask("bob", "bob 1");
  ask("cy", "cy 1");
  await settled();
  for (const name of ["ann 1", "ann 2", "bob 1", "cy 1"]) await end(name);
  expect(begun).toEqual(["ann 1", "ann 2", "bob 1", "cy 1", "ann 3"]);
});

it("holds no more weight than its capacity, and lets nobody overtake a heavy one", async () => {
  const { semaphore, begun, ask, end } = scene(10);
  ask("ann", "six", 6);
  ask("ann", "seven", 7);
  ask("bob", "one", 1);
  await settled();
  expect([begun, semaphore.held]).toEqual([["six"], 6]);
  await end("six");
  expect([begun, semaphore.held]).toEqual([["six", "seven", "one"], 8]);
});

it("lets one that is heavier than the capacity in alone", async () => {
  const { semaphore, begun, ask, end } = scene(10);
  ask("ann", "light", 1);
  ask("ann", "huge", 100);
  ask("bob", "next", 1);
  await settled();
  expect(begun).toEqual(["light"]);
  await end("light");
  expect(begun).toEqual(["light", "huge"]);
  await end("huge");
  expect(begun).toEqual(["light", "huge", "next"]);
  await end("next");
  expect(semaphore.held).toBe(0);
});

it("takes back once what was released twice, and after work that failed", async () => {
  const { semaphore } = scene(2);
  const release = await semaphore.acquire("ann", 2);
  release();
  release();
  await expect(
    semaphore.run("ann", 2, async () => {
      expect(semaphore.held).toBe(2);
      throw new Error("broken");
    }),
  ).rejects.toThrow("broken");
  expect(semaphore.held).toBe(0);
});
