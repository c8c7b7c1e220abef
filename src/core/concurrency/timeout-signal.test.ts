import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { timeoutSignal } from "./timeout-signal.ts";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Combines two signals that nothing else refers to. */
const combined = () => AbortSignal.any([new AbortController().signal, timeoutSignal(100).signal]);

it("aborts a combined signal after its time, also when garbage was collected meanwhile", () => {
  const onAbort = vi.fn();
  const signal = combined();
  signal.addEventListener("abort", onAbort);
  collectGarbage();
  vi.advanceTimersByTime(99);
  expect(onAbort).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  expect(onAbort).toHaveBeenCalledTimes(1);
  expect(signal.reason).toMatchObject({ name: "TimeoutError" });
});

it("leaves no timer when it is disposed of", () => {
  timeoutSignal(100)[Symbol.dispose]();
  expect(vi.getTimerCount()).toBe(0);
});
