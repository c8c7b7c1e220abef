import { describe, expect, it } from "vitest";
import { Semaphore } from "./semaphore.ts";

const settled = () => new Promise((resolve) => setImmediate(resolve));

describe("acquire", () => {
  it("grants as many at once as the capacity says, the others in the order in which they came", async () => {
    const semaphore = new Semaphore(2);
    const granted: number[] = [];
    const acquire = async (id: number) => {
      const release = await semaphore.acquire();
      granted.push(id);
      return release;
    };
    const all = [1, 2, 3, 4].map(acquire);
    await settled();
    expect(granted).toEqual([1, 2]);
    expect(semaphore).toMatchObject({ running: 2, waiting: 2 });
    (await all[1])?.();
    await settled();
    expect(granted).toEqual([1, 2, 3]);
    (await all[0])?.();
    (await all[2])?.();
    (await all[3])?.();
    expect(granted).toEqual([1, 2, 3, 4]);
    expect(semaphore).toMatchObject({ running: 0, waiting: 0 });
  });

  it("counts a second release of the same grant only once", async () => {
    const semaphore = new Semaphore(1);
    const release = await semaphore.acquire();
    release();
    await semaphore.acquire();
    release();
    expect(semaphore.running).toBe(1);
  });

  it("rejects with the signal's reason at an abort and leaves the queue", async () => {
    const semaphore = new Semaphore(1);
    const release = await semaphore.acquire();
    const abort = new AbortController();
    const waiting = semaphore.acquire(abort.signal);
    const next = semaphore.acquire();
    abort.abort(new Error("no longer wanted"));
    await expect(waiting).rejects.toThrow("no longer wanted");
    expect(semaphore.waiting).toBe(1);
    release();
    await next;
    expect(semaphore).toMatchObject({ running: 1, waiting: 0 });
  });

  it("rejects at once when the signal has aborted before", async () => {
    const semaphore = new Semaphore(1);
    await expect(semaphore.acquire(AbortSignal.abort(new Error("too late")))).rejects.toThrow("too late");
    expect(semaphore.running).toBe(0);
  });

  it("passes a grant on when the abort comes right after it", async () => {
    const semaphore = new Semaphore(1);
    const release = await semaphore.acquire();
    const abort = new AbortController();
    const first = semaphore.acquire(abort.signal);
    const second = semaphore.acquire();
    release();
    abort.abort(new Error("no longer wanted"));
    await expect(first).rejects.toThrow("no longer wanted");
    (await second)();
    expect(semaphore).toMatchObject({ running: 0, waiting: 0 });
  });
});

describe("tryAcquire", () => {
  it("returns undefined when the capacity is used up", () => {
    const semaphore = new Semaphore(1);
    const release = semaphore.tryAcquire();
    expect(semaphore.tryAcquire()).toBeUndefined();
    release?.();
    expect(semaphore.tryAcquire()).toBeDefined();
  });
});

it("follows a capacity that changes", async () => {
  let capacity = 1;
  const semaphore = new Semaphore(() => capacity);
  const first = await semaphore.acquire();
  const second = semaphore.acquire();
  capacity = 3;
  const third = semaphore.acquire();
  await Promise.all([second, third]);
  expect(semaphore.running).toBe(3);
  capacity = 1;
  first();
  expect(semaphore.tryAcquire()).toBeUndefined();
  expect(semaphore.running).toBe(2);
});
