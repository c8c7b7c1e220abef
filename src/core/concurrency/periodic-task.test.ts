import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { TemperaError } from "../errors/tempera-error.ts";
import { PeriodicTask } from "./periodic-task.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A task whose runs end when the test settles them, and what it logged. */
function scene() {
  const runs: ReturnType<typeof deferred>[] = [];
  const logged: [level: string, message: string][] = [];
  const write = (level: string) => (_fields: object, message: string) => void logged.push([level, message]);
  const log = { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };
  const run = () => {
    const one = deferred();
    runs.push(one);
    return one.promise;
  };
  return { runs, logged, task: new PeriodicTask(run, { everyMs: 100, description: "the sweep", log }) };
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

it("runs every so often, never twice at once", async () => {
  const { runs, task } = scene();
  await vi.advanceTimersByTimeAsync(350);
  expect(runs).toHaveLength(1);
  runs[0]?.resolve();
  await vi.advanceTimersByTimeAsync(100);
  expect(runs).toHaveLength(2);
  runs[1]?.resolve();
  await task.stop();
  await vi.advanceTimersByTimeAsync(500);
  expect(runs).toHaveLength(2);
});

it("resolves stop when the run under way has ended", async () => {
  const { runs, task } = scene();
  await vi.advanceTimersByTimeAsync(100);
  let stopped = false;
  const stopping = task.stop().then(() => {
    stopped = true;
  });
  await vi.advanceTimersByTimeAsync(50);
  expect(stopped).toBe(false);
  runs[0]?.reject(new Error("late"));
  await stopping;
});

it("waits two seconds at most for a run that does not end", async () => {
  const { runs, task } = scene();
  await vi.advanceTimersByTimeAsync(100);
  const stopping = task.stop();
  await vi.advanceTimersByTimeAsync(2_000);
  await stopping;
  expect(runs).toHaveLength(1);
});

it("goes on after a failure, logged as an error unless a store is unavailable", async () => {
  const { runs, logged, task } = scene();
  await vi.advanceTimersByTimeAsync(100);
  runs[0]?.reject(new TemperaError("store_unavailable", "PostgreSQL cannot be reached."));
  await vi.advanceTimersByTimeAsync(100);
  runs[1]?.reject(new Error("broken"));
  await vi.advanceTimersByTimeAsync(100);
  expect(logged).toEqual([
    ["debug", "the sweep failed"],
    ["error", "the sweep failed"],
  ]);
  runs[2]?.reject(new TemperaError("internal_error"));
  await vi.advanceTimersByTimeAsync(100);
  expect(logged.at(-1)).toEqual(["error", "the sweep failed"]);
  runs[3]?.resolve();
  await task.stop();
});
