import { describe, expect, it, vi } from "vitest";
import { onAbort, withAbort } from "./with-abort.ts";

describe("withAbort", () => {
  it("settles as the promise does", async () => {
    const { signal } = new AbortController();
    await expect(withAbort(Promise.resolve(1), signal)).resolves.toBe(1);
    await expect(withAbort(Promise.reject(new Error("broken")), signal)).rejects.toThrow("broken");
  });

  it("rejects with the signal's reason at an abort and ignores a later rejection", async () => {
    const abort = new AbortController();
    let fail = (_error: Error) => {};
    const work = new Promise((_, reject) => {
      fail = reject;
    });
    const waiting = withAbort(work, abort.signal);
    abort.abort(new Error("no longer wanted"));
    await expect(waiting).rejects.toThrow("no longer wanted");
    fail(new Error("later"));
  });

  it("rejects at once when the signal has aborted before, whatever the promise does", async () => {
    const signal = AbortSignal.abort(new Error("too late"));
    await expect(withAbort(Promise.resolve(1), signal)).rejects.toThrow("too late");
    await expect(withAbort(Promise.reject(new Error("broken")), signal)).rejects.toThrow("too late");
  });

  it("leaves no listener on the signal", async () => {
    const { signal } = new AbortController();
    const add = vi.spyOn(signal, "addEventListener");
    const remove = vi.spyOn(signal, "removeEventListener");
    await withAbort(Promise.resolve(), signal);
    expect(add).toHaveBeenCalledTimes(1);
    expect(remove).toHaveBeenCalledWith("abort", add.mock.calls[0]?.[1]);
  });
});

describe("onAbort", () => {
  it("calls the listener once", () => {
    const abort = new AbortController();
    const listener = vi.fn();
    onAbort(abort.signal, listener);
    expect(listener).not.toHaveBeenCalled();
    abort.abort();
    abort.abort();
    expect(listener).toHaveBeenCalledTimes(1);
  });

  it("calls the listener at once when the signal has aborted before", () => {
    const listener = vi.fn();
    onAbort(AbortSignal.abort(), listener);
    expect(listener).toHaveBeenCalledTimes(1);
  });

  it("calls nothing after it was disposed of", () => {
    const abort = new AbortController();
    const listener = vi.fn();
    onAbort(abort.signal, listener)[Symbol.dispose]();
    abort.abort();
    expect(listener).not.toHaveBeenCalled();
  });
});
