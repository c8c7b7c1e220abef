import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { StepWatch } from "./step-watch.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/**
 * A watch with a check each second, steps that end on request, and the errors that the watch has reported.
 */
function watching() {
  const watch = new StepWatch(1_000);
  const errors: string[] = [];
  watch.stuck.catch((error) => errors.push(error.message));
  const ends = new Map<string, () => void>();
  const begin = (workflow: string): void => {
    void watch.step(workflow, new Promise<void>((resolve) => ends.set(workflow, resolve)));
  };
  return { watch, errors, begin, end: (workflow: string) => ends.get(workflow)?.() };
}

it("reports the oldest pending step once no step has ended for four checks", async () => {
  const { errors, begin, end } = watching();
  for (const workflow of ["done", "spins", "waits"]) begin(workflow);
  end("done");
  await vi.advanceTimersByTimeAsync(5_900);
  expect(errors).toEqual([]);
  await vi.advanceTimersByTimeAsync(200);
  expect(errors).toEqual([
    expect.stringContaining("The workflow spins has held the thread of all workflows for 4 s"),
  ]);
});

it("gives a step that begins right before a check its whole time", async () => {
  const { errors, begin } = watching();
  await vi.advanceTimersByTimeAsync(990);
  begin("spins");
  await vi.advanceTimersByTimeAsync(4_000);
  expect(errors).toEqual([]);
  await vi.advanceTimersByTimeAsync(1_100);
  expect(errors).toHaveLength(1);
});

it("is not delayed by steps that begin later", async () => {
  const { errors, begin } = watching();
  begin("spins");
  for (let i = 0; i < 7; i++) {
    await vi.advanceTimersByTimeAsync(900);
    begin(`later ${i}`);
  }
  expect(errors).toEqual([expect.stringContaining("The workflow spins")]);
});

it("reports nothing as long as steps end, however many are pending", async () => {
  const { errors, begin, end } = watching();
  for (let i = 0; i < 20; i++) begin(`w${i}`);
  for (let i = 0; i < 20; i++) {
    await vi.advanceTimersByTimeAsync(3_000);
    end(`w${i}`);
    await vi.advanceTimersByTimeAsync(0);
  }
  await vi.advanceTimersByTimeAsync(60_000);
  expect(errors).toEqual([]);
});

it("checks no more once it is stopped", async () => {
  const { watch, errors, begin } = watching();
  begin("spins");
  watch.stop();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(errors).toEqual([]);
});
