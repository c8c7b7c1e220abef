import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { StepWatch } from "./step-watch.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A watch, steps that end when they are told to, and what it has said. */
function watching() {
  const watch = new StepWatch(1_000);
  const told: string[] = [];
  watch.stuck.catch((error) => told.push(error.message));
  const ends = new Map<string, () => void>();
  const begin = (workflow: string): void => {
    void watch.step(workflow, new Promise<void>((resolve) => ends.set(workflow, resolve)));
  };
  return { watch, told, begin, end: (workflow: string) => ends.get(workflow)?.() };
}

it("tells of the oldest step that has not ended, once no step has for four looks", async () => {
  const { told, begin, end } = watching();
  for (const workflow of ["done", "spins", "waits"]) begin(workflow);
  end("done");
  await vi.advanceTimersByTimeAsync(5_900);
  expect(told).toEqual([]);
  await vi.advanceTimersByTimeAsync(200);
  expect(told).toEqual([
    expect.stringContaining("The workflow spins has held the thread of all workflows for 4 s"),
  ]);
});

it("gives a step that begins right before a look its whole time", async () => {
  const { told, begin } = watching();
  await vi.advanceTimersByTimeAsync(990);
  begin("spins");
  await vi.advanceTimersByTimeAsync(4_000);
  expect(told).toEqual([]);
  await vi.advanceTimersByTimeAsync(1_100);
  expect(told).toHaveLength(1);
});

it("is not put off by steps that begin meanwhile", async () => {
  const { told, begin } = watching();
  begin("spins");
  for (let i = 0; i < 7; i++) {
    await vi.advanceTimersByTimeAsync(900);
    begin(`later ${i}`);
  }
  expect(told).toEqual([expect.stringContaining("The workflow spins")]);
});

it("is content as long as steps end, however many wait", async () => {
  const { told, begin, end } = watching();
  for (let i = 0; i < 20; i++) begin(`w${i}`);
  for (let i = 0; i < 20; i++) {
    await vi.advanceTimersByTimeAsync(3_000);
    end(`w${i}`);
    await vi.advanceTimersByTimeAsync(0);
  }
  await vi.advanceTimersByTimeAsync(60_000);
  expect(told).toEqual([]);
});

it("looks no more once it is stopped", async () => {
  const { watch, told, begin } = watching();
  begin("spins");
  watch.stop();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(told).toEqual([]);
});
