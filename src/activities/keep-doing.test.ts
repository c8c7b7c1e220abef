import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { TemperaError } from "../core/errors/tempera-error.ts";
import { keepDoing } from "./keep-doing.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Work that ends when it is told to, and the log of what was not done. */
function scene() {
  const under: PromiseWithResolvers<void>[] = [];
  const said: [level: string, message: string][] = [];
  const say = (level: string) => (_about: object, message: string) => void said.push([level, message]);
  const log = { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") };
  const work = () => {
    const one = deferred();
    under.push(one);
    return one.promise;
  };
  return { under, said, stop: keepDoing(work, { everyMs: 100, otherwise: "it was not done", log }) };
}

interface PromiseWithResolvers<T> {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (reason: unknown) => void;
}

function deferred(): PromiseWithResolvers<void> {
  let resolve = () => {};
  let reject = (_reason: unknown) => {};
  const promise = new Promise<void>((done, fail) => {
    resolve = done;
    reject = fail;
  });
  return { promise, resolve, reject };
}

it("does it every so often, never twice at once", async () => {
  const { under, stop } = scene();
  await vi.advanceTimersByTimeAsync(350);
  expect(under).toHaveLength(1);
  under[0]?.resolve();
  await vi.advanceTimersByTimeAsync(100);
  expect(under).toHaveLength(2);
  under[1]?.resolve();
  await stop();
  await vi.advanceTimersByTimeAsync(500);
  expect(under).toHaveLength(2);
});

it("has stopped when what was being done has ended", async () => {
  const { under, stop } = scene();
  await vi.advanceTimersByTimeAsync(100);
  let stopped = false;
  const stopping = stop().then(() => {
    stopped = true;
  });
  await vi.advanceTimersByTimeAsync(50);
  expect(stopped).toBe(false);
  under[0]?.reject(new Error("late"));
  await stopping;
});

it("goes on after a failure: quietly when a store is away, loudly otherwise", async () => {
  const { under, said, stop } = scene();
  await vi.advanceTimersByTimeAsync(100);
  under[0]?.reject(new TemperaError("store_unavailable", "It is away."));
  await vi.advanceTimersByTimeAsync(100);
  under[1]?.reject(new Error("broken"));
  await vi.advanceTimersByTimeAsync(100);
  expect(said).toEqual([
    ["debug", "it was not done"],
    ["error", "it was not done"],
  ]);
  under[2]?.resolve();
  await stop();
});
