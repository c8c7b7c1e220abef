import { describe, expect, it, vi } from "vitest";
import { InvalidatedCache, type InvalidatedCacheOptions } from "./invalidated-cache.ts";

/** A store of one value per key that can be changed, made to fail and made to wait. */
function scene(options: Partial<InvalidatedCacheOptions<string, string | undefined>> = {}) {
  const store = new Map([["a", "a1"]]);
  let nowMs = 1_000;
  const read = vi.fn(async (key: string) => store.get(key));
  const cache = new InvalidatedCache<string, string | undefined>({
    read,
    ttlMs: 100,
    entriesMax: 2,
    clock: { nowMs: () => nowMs },
    ...options,
  });
  const pass = (ms: number): void => {
    nowMs += ms;
  };
  return { store, read, cache, pass };
}

function deferred<T>() {
  let resolve = (_value: T) => {};
  const promise = new Promise<T>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

it("reads a value once until its time to live is over", async () => {
  const { store, read, cache, pass } = scene();
  expect(await cache.get("a")).toBe("a1");
  store.set("a", "a2");
  pass(99);
  expect(await cache.get("a")).toBe("a1");
  pass(1);
  expect(await cache.get("a")).toBe("a2");
  expect(read).toHaveBeenCalledTimes(2);
  expect(read).toHaveBeenLastCalledWith("a", "a1");
});

it("reads once for all who ask at the same time", async () => {
  const { read, cache } = scene();
  expect(await Promise.all([cache.get("a"), cache.get("a"), cache.get("a")])).toEqual(["a1", "a1", "a1"]);
  expect(read).toHaveBeenCalledTimes(1);
});

it("does not keep a value of undefined", async () => {
  const { store, cache } = scene();
  expect(await cache.get("new")).toBeUndefined();
  store.set("new", "n1");
  expect(await cache.get("new")).toBe("n1");
});

it("evicts the least recently used entry when it is full", async () => {
  const { store, read, cache } = scene();
  store.set("b", "b1").set("c", "c1");
  for (const key of ["a", "b", "a", "c", "a"]) await cache.get(key);
  expect(read.mock.calls.map(([key]) => key)).toEqual(["a", "b", "c"]);
  await cache.get("b");
  expect(read).toHaveBeenCalledTimes(4);
});

describe("invalidation", () => {
  it("makes the next caller read, for the key that it names or for all", async () => {
    const { store, read, cache } = scene();
    store.set("b", "b1");
    await Promise.all([cache.get("a"), cache.get("b")]);
    store.set("a", "a2").set("b", "b2");
    cache.invalidate("a");
    expect([await cache.get("a"), await cache.get("b")]).toEqual(["a2", "b1"]);
    cache.invalidate();
    expect([await cache.get("a"), await cache.get("b")]).toEqual(["a2", "b2"]);
    store.set("b", "b3");
    cache.invalidateWhere((key) => key === "b");
    expect([await cache.get("a"), await cache.get("b")]).toEqual(["a2", "b3"]);
    expect(read).toHaveBeenCalledTimes(6);
  });

  it("keeps nothing of a read during which it came, and no later caller gets that read's value", async () => {
    const { read, cache } = scene();
    const [before, after] = [deferred<string>(), deferred<string>()];
    read.mockReturnValueOnce(before.promise).mockReturnValueOnce(after.promise);
    const early = cache.get("a");
    await settled();
    cache.invalidate("a");
    const late = cache.get("a");
    await settled();
    after.resolve("a2");
    expect(await late).toBe("a2");
    before.resolve("a1");
    expect(await early).toBe("a1");
    expect(await cache.get("a")).toBe("a2");
    expect(read).toHaveBeenCalledTimes(2);
  });
});

describe("staleWhileRevalidate", () => {
  it("serves an expired value while it is read again in the background", async () => {
    const { store, cache, pass } = scene({ staleWhileRevalidate: true });
    await cache.get("a");
    store.set("a", "a2");
    pass(100);
    expect(await cache.get("a")).toBe("a1");
    await settled();
    expect(await cache.get("a")).toBe("a2");
  });

  it("never serves an invalidated value", async () => {
    const { store, cache } = scene({ staleWhileRevalidate: true });
    await cache.get("a");
    store.set("a", "a2");
    cache.invalidate("a");
    expect(await cache.get("a")).toBe("a2");
  });
});

describe("a failed read", () => {
  it("rejects, and the next caller reads again", async () => {
    const { read, cache } = scene();
    read.mockRejectedValueOnce(new Error("away"));
    await expect(cache.get("a")).rejects.toThrow("away");
    expect(await cache.get("a")).toBe("a1");
  });

  it("is answered by onReadError, whose value serves until the next attempt", async () => {
    const onReadError = vi.fn(
      (_error: unknown, last?: { value: string | undefined }) => last?.value ?? "none",
    );
    const { read, cache, pass } = scene({ onReadError, retryAfterMs: 10 });
    read.mockRejectedValueOnce(new Error("away"));
    expect(await cache.get("a")).toBe("none");
    expect(onReadError).toHaveBeenLastCalledWith(new Error("away"), undefined);
    pass(10);
    expect(await cache.get("a")).toBe("a1");
    pass(100);
    read.mockRejectedValueOnce(new Error("away"));
    expect(await cache.get("a")).toBe("a1");
    expect(onReadError).toHaveBeenLastCalledWith(new Error("away"), {
      value: "a1",
      ageMs: 100,
      invalidated: false,
    });
    pass(9);
    await cache.get("a");
    expect(read).toHaveBeenCalledTimes(3);
    cache.invalidate("a");
    read.mockRejectedValueOnce(new Error("away"));
    await cache.get("a");
    expect(onReadError).toHaveBeenLastCalledWith(new Error("away"), {
      value: "a1",
      ageMs: 109,
      invalidated: true,
    });
  });
});
