import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { TemperaError } from "../errors/tempera-error.ts";
import { keepDoing } from "./periodic-task.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Work that ends when it is told to, and the log of what was not done. */
function scene() {
  const under: ReturnType<typeof deferred>[] = [];
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

function deferred() {
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

it("does not wait for ever for what does not end", async () => {
  const { under, stop } = scene();
  await vi.advanceTimersByTimeAsync(100);
  const stopping = stop();
  await vi.advanceTimersByTimeAsync(2_000);
  await stopping;
  expect(under).toHaveLength(1);
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
  under[2]?.reject(new TemperaError("internal_error"));
  await vi.advanceTimersByTimeAsync(100);
  expect(said.at(-1)).toEqual(["error", "it was not done"]);
  under[3]?.resolve();
  await stop();
});
