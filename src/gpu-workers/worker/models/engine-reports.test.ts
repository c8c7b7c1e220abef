import { afterEach, describe, expect, it, vi } from "vitest";
import type { EngineStatus } from "../../../core/engines/engine-status.ts";
import type { DrainOrders, EngineStatusStore } from "../../../core/engines/engine-status-store.ts";
import { LIMITS } from "../../../core/limits.ts";
import { EngineReports } from "./engine-reports.ts";

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

async function setUp(change: Partial<EngineStatusStore> = {}) {
  vi.useFakeTimers();
  const lines: string[] = [];
  const resets: string[] = [];
  const drains: DrainOrders[] = [];
  const refusals: string[][] = [];
  const engines = [engine];
  let notify = () => {};
  const takeResets = vi.fn(async (): Promise<{ endpoint: string; version: string }[]> => []);
  const store = {
    report: vi.fn(async () => {}),
    remove: vi.fn(async () => {}),
    list: async () => [],
    requestReset: async () => [],
    takeResets,
    drain: async () => [],
    drainWorker: async () => false,
    drained: vi.fn(async () => ({ all: false, models: [] })),
    onReset: async (_: string, listener: () => void) => {
      notify = listener;
      return async () => {};
    },
    ...change,
  };
  reports = await EngineReports.start({
    store,
    worker,
    list: () => engines,
    reset: ({ endpoint }) => resets.push(endpoint),
    drain: (drained) => drains.push(drained),
    refuse: (queues) => refusals.push([...queues]),
    unservedMaxMs: 60_000,
    log: (level, message) => lines.push(`${level} ${message}`),
  });
  return { store, engines, takeResets, lines, resets, drains, refusals, reports, notify: () => notify() };
}

describe("engine reports", () => {
  it("writes the first at start, then one for changes that come together, and signs of life", async () => {
    const { store, engines, reports: started } = await setUp();
    expect(store.report).toHaveBeenCalledTimes(1);
    expect(store.report).toHaveBeenCalledWith(worker, [engine]);
    engines[0] = { ...engine, failures: 1 };
    for (let i = 0; i < 5; i++) started.changed();
    await vi.advanceTimersByTimeAsync(LIMITS.engineReportDebounceMs);
    expect(store.report).toHaveBeenCalledTimes(2);
    await vi.advanceTimersByTimeAsync(LIMITS.engineReportMs);
    expect(store.report).toHaveBeenCalledTimes(3);
    await started[Symbol.asyncDispose]();
    expect(store.remove).toHaveBeenCalledWith("worker-1");
    started.changed();
    await vi.advanceTimersByTimeAsync(10 * LIMITS.engineReportMs);
    expect(store.report).toHaveBeenCalledTimes(3);
  });

  it("reports numbers of requests with the sign of life, not with every request", async () => {
    const { store, engines, reports: started } = await setUp();
    engines[0] = { ...engine, running: 1 };
    started.changed();
    await vi.advanceTimersByTimeAsync(LIMITS.engineReportMs - 1);
    expect(store.report).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(store.report).toHaveBeenLastCalledWith(worker, engines);
  });

  it("carries out resets at once when notified, else at the next sign of life", async () => {
    const { takeResets, resets, notify } = await setUp();
    takeResets.mockResolvedValueOnce([{ endpoint: "t/a", version: "1.0.0" }]);
    notify();
    await vi.advanceTimersByTimeAsync(0);
    expect(resets).toEqual(["t/a"]);
    takeResets.mockResolvedValueOnce([{ endpoint: "t/b", version: "1.0.0" }]);
    await vi.advanceTimersByTimeAsync(LIMITS.engineReportMs);
    expect(resets).toEqual(["t/a", "t/b"]);
  });

  it("logs once that the store is away, and once that it is back", async () => {
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

  it("hands drained models on when notified, and with each report", async () => {
    const models = [{ endpoint: "t/a", version: "1.0.0" }];
    let wanted: DrainOrders = { all: false, models };
    const { drains, notify } = await setUp({ drained: async () => wanted });
    expect(drains).toEqual([{ all: false, models }]);
    wanted = { all: true, models: [] };
    notify();
    await vi.advanceTimersByTimeAsync(0);
    expect(drains.at(-1)).toEqual({ all: true, models: [] });
  });
});

describe("models that no worker serves", () => {
  const unhealthy: EngineStatus = { ...engine, state: "unhealthy", polled: false, failures: 3 };
  const elsewhere = (state: EngineStatus["state"]) => ({
    ...unhealthy,
    state,
    worker: "worker-2",
    device: "cpu",
    budgetMiB: 1000,
    drained: false,
    ageMs: 0,
  });
  const listed = (state: EngineStatus["state"]) => [
    { ...elsewhere("unhealthy"), worker: "worker-1" },
    elsewhere(state),
  ];

  it("are refused once every worker has had them unhealthy for long, until one serves them", async () => {
    const list = vi.fn(async () => listed("unhealthy"));
    const { engines, refusals } = await setUp({ list });
    expect(list).not.toHaveBeenCalled();
    engines[0] = unhealthy;
    await vi.advanceTimersByTimeAsync(LIMITS.engineReportMs);
    await vi.advanceTimersByTimeAsync(60_000 - LIMITS.engineReportMs);
    expect(refusals.flat()).toEqual([]);
    await vi.advanceTimersByTimeAsync(LIMITS.engineReportMs);
    expect(refusals.at(-1)).toEqual(["gpu/t/a/1.0.0"]);
    list.mockResolvedValue(listed("stopped"));
    await vi.advanceTimersByTimeAsync(LIMITS.engineReportMs);
    expect(refusals.at(-1)).toEqual([]);
  });

  it("are not refused while another worker may serve them", async () => {
    const { engines, refusals } = await setUp({ list: async () => listed("ready") });
    engines[0] = unhealthy;
    await vi.advanceTimersByTimeAsync(600_000);
    expect(refusals.flat()).toEqual([]);
  });
});
