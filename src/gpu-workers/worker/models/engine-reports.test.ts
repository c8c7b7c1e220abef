import { afterEach, describe, expect, it, vi } from "vitest";
import type { EngineStatus } from "../../../core/engines/engine-status.ts";
import { LIMITS } from "../../../core/limits.ts";
import type { Drained, EngineBoard } from "../../../core/engines/engine-status-store.ts";
import { type EngineReports, startEngineReports } from "./engine-reports.ts";

const engine: EngineStatus = {
  endpoint: "t/a",
  version: "1.0.0",
  state: "ready",
  polled: true,
  running: 0,
  waiting: 0,
  failures: 0,
};
const worker = { worker: "worker-1", device: "cpu", budgetMiB: 1000 };

let reports: EngineReports | undefined;
afterEach(async () => {
  vi.useRealTimers();
  await reports?.[Symbol.asyncDispose]();
  reports = undefined;
});

async function setUp(change: Partial<EngineBoard> = {}) {
  vi.useFakeTimers();
  const lines: string[] = [];
  const resets: string[] = [];
  const drains: Drained[] = [];
  const engines = [engine];
  let tell = () => {};
  const takeResets = vi.fn(async (): Promise<{ endpoint: string; version: string }[]> => []);
  const board = {
    report: vi.fn(async () => {}),
    leave: vi.fn(async () => {}),
    list: async () => [],
    askReset: async () => [],
    takeResets,
    drain: async () => [],
    drainWorker: async () => false,
    drained: vi.fn(async () => ({ all: false, models: [] })),
    onReset: async (_: string, listener: () => void) => {
      tell = listener;
      return async () => {};
    },
    ...change,
  };
  reports = await startEngineReports({
    board,
    worker,
    list: () => engines,
    reset: ({ endpoint }) => resets.push(endpoint),
    drain: (drained) => drains.push(drained),
    log: (level, message) => lines.push(`${level} ${message}`),
  });
  return { board, engines, takeResets, lines, resets, drains, reports, tell: () => tell() };
}

describe("engine reports", () => {
  it("the first is written before the worker goes on; then one for changes that come together, and a sign of life", async () => {
    const { board, engines, reports: made } = await setUp();
    expect(board.report).toHaveBeenCalledTimes(1);
    expect(board.report).toHaveBeenCalledWith(worker, [engine]);
    engines[0] = { ...engine, failures: 1 };
    for (let i = 0; i < 5; i++) made.changed();
    await vi.advanceTimersByTimeAsync(LIMITS.engineReportGatherMs);
    expect(board.report).toHaveBeenCalledTimes(2);
    await vi.advanceTimersByTimeAsync(LIMITS.engineReportMs);
    expect(board.report).toHaveBeenCalledTimes(3);
    await made[Symbol.asyncDispose]();
    expect(board.leave).toHaveBeenCalledWith("worker-1");
    made.changed();
    await vi.advanceTimersByTimeAsync(10 * LIMITS.engineReportMs);
    expect(board.report).toHaveBeenCalledTimes(3);
  });

  it("how many requests an engine has in hand is told with the sign of life, not with every request", async () => {
    const { board, engines, reports: made } = await setUp();
    engines[0] = { ...engine, running: 1 };
    made.changed();
    await vi.advanceTimersByTimeAsync(LIMITS.engineReportMs - 1);
    expect(board.report).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(board.report).toHaveBeenLastCalledWith(worker, engines);
  });

  it("what operators ask for is done at once when it is told, and at the next sign of life when it was not", async () => {
    const { takeResets, resets, tell } = await setUp();
    takeResets.mockResolvedValueOnce([{ endpoint: "t/a", version: "1.0.0" }]);
    tell();
    await vi.advanceTimersByTimeAsync(0);
    expect(resets).toEqual(["t/a"]);
    takeResets.mockResolvedValueOnce([{ endpoint: "t/b", version: "1.0.0" }]);
    await vi.advanceTimersByTimeAsync(LIMITS.engineReportMs);
    expect(resets).toEqual(["t/a", "t/b"]);
  });

  it("a board that is away is told once, and once when it is back; nothing else changes", async () => {
    let away = true;
    const report = vi.fn(async () => {
      if (away) throw new Error("no database");
    });
    const onReset = () => Promise.reject(new Error("no database"));
    const { lines } = await setUp({ report, onReset });
    await vi.advanceTimersByTimeAsync(3 * LIMITS.engineReportMs);
    expect(lines).toEqual(["WARN engines cannot be reported: no database"]);
    away = false;
    await vi.advanceTimersByTimeAsync(2 * LIMITS.engineReportMs);
    expect(lines).toEqual([
      "WARN engines cannot be reported: no database",
      "INFO engines are reported again",
    ]);
  });

  it("what is drained is told when it changes, and with each report", async () => {
    const models = [{ endpoint: "t/a", version: "1.0.0" }];
    let wanted: Drained = { all: false, models };
    const { drains, tell } = await setUp({ drained: async () => wanted });
    expect(drains).toEqual([{ all: false, models }]);
    wanted = { all: true, models: [] };
    tell();
    await vi.advanceTimersByTimeAsync(0);
    expect(drains.at(-1)).toEqual({ all: true, models: [] });
  });
});
