import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { startProgress } from "./denoise-report.ts";

beforeEach(() => vi.useFakeTimers({ toFake: ["performance"] }));
afterEach(() => vi.useRealTimers());

/** Runs steps of some milliseconds each. Returns the reports. */
function reports(stepsMs: number[], { stepsBefore = 0, everyMs = 0 } = {}): [number, number, number][] {
  const reported: [number, number, number][] = [];
  const progress = (step: number, total: number, leftMs = Number.NaN) =>
    void reported.push([step, total, leftMs]);
  const onStep = startProgress({ progress }, { steps: stepsBefore + stepsMs.length, stepsBefore, everyMs });
  stepsMs.forEach((ms, i) => {
    vi.advanceTimersByTime(ms);
    onStep(stepsBefore + i + 1);
  });
  return reported;
}

it("estimates the time that is left by the mean time of the steps so far", () =>
  expect(reports([100, 300, 200, 200])).toEqual([
    [1, 4, 300],
    [2, 4, 400],
    [3, 4, 200],
    [4, 4, 0],
  ]));

it("counts the steps of this attempt alone", () =>
  expect(reports([100, 100], { stepsBefore: 8 })).toEqual([
    [9, 10, 100],
    [10, 10, 0],
  ]));

it("reports the first and the last step, and one in each interval between", () =>
  expect(reports(Array(10).fill(8), { everyMs: 20 }).map(([step]) => step)).toEqual([1, 4, 7, 10]));
