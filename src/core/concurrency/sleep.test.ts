import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { sleep } from "./sleep.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it("resolves after the time has passed", async () => {
  const woken = vi.fn();
  const sleeping = sleep(100, new AbortController().signal).then(woken);
  await vi.advanceTimersByTimeAsync(99);
  expect(woken).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(1);
  await sleeping;
  expect(woken).toHaveBeenCalledTimes(1);
});

it("rejects with the signal's reason at an abort and leaves no timer", async () => {
  const abort = new AbortController();
  const sleeping = sleep(100, abort.signal);
  abort.abort(new Error("no longer wanted"));
  await expect(sleeping).rejects.toThrow("no longer wanted");
  expect(vi.getTimerCount()).toBe(0);
});

it("rejects at once when the signal has aborted before", async () => {
  await expect(sleep(100, AbortSignal.abort(new Error("too late")))).rejects.toThrow("too late");
  expect(vi.getTimerCount()).toBe(0);
});
