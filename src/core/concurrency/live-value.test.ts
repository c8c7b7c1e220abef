import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LiveValue } from "./live-value.ts";

const EVERY_MS = 60_000;

let stored: number;
let failure: Error | undefined;
let announce: () => void;
let subscribed: boolean;
let errors: unknown[];
let pending: (() => void)[] | undefined;
beforeEach(() => {
  vi.useFakeTimers();
  stored = 1;
  failure = undefined;
  errors = [];
  pending = undefined;
});
afterEach(() => void vi.useRealTimers());

const start = () =>
  LiveValue.start({
    read: async () => {
      const value = stored;
      if (pending) await new Promise<void>((resolve) => pending?.push(resolve));
      if (failure) throw failure;
      return value;
    },
    onChange: async (listener) => {
      subscribed = true;
      announce = listener;
      return async () => {
        subscribed = false;
      };
    },
    everyMs: EVERY_MS,
    onReadError: (error) => errors.push(error),
  });

describe("a live value", () => {
  it("is read again after an announcement, and now and then without one", async () => {
    await using value = await start();
    expect(value.current).toBe(1);
    stored = 2;
    announce();
    await vi.advanceTimersByTimeAsync(0);
    expect(value.current).toBe(2);
    stored = 3;
    await vi.advanceTimersByTimeAsync(EVERY_MS);
    expect(value.current).toBe(3);
  });

  it("is read once more when an announcement comes during a read", async () => {
    await using value = await start();
    pending = [];
    announce();
    stored = 2;
    announce();
    for (let reads = 0; reads < 2; reads++) {
      await vi.advanceTimersByTimeAsync(0);
      expect(pending).toHaveLength(1);
      pending.shift()?.();
    }
    await vi.advanceTimersByTimeAsync(0);
    expect(value.current).toBe(2);
  });

  it("stays as it is after a failed read, and rejects when the first read fails", async () => {
    await using value = await start();
    failure = new Error("unavailable");
    announce();
    await vi.advanceTimersByTimeAsync(0);
    expect(value.current).toBe(1);
    expect(errors).toEqual([failure]);
    await expect(start()).rejects.toBe(failure);
  });

  it("unsubscribes and leaves no timer when it is disposed of", async () => {
    const value = await start();
    await value[Symbol.asyncDispose]();
    expect(subscribed).toBe(false);
    expect(vi.getTimerCount()).toBe(0);
  });
});
