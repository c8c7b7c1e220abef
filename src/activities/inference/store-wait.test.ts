import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { sleep } from "../../core/concurrency/sleep.ts";
import { READ_ONLY, storeFull } from "../../core/errors/store-failure.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { StoreWait, storePauseMs } from "./store-wait.ts";

const FULL = storeFull("object store", "has no space left (ENOSPC)", "free some", undefined);
const READS_ONLY = storeFull("PostgreSQL", `${READ_ONLY} (25006)`, "end its read-only mode", undefined);
const AWAY = new TemperaError("store_unavailable", "It is away.", { store: "object store" });

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function patience(retryMs: number, untilMs = Number.POSITIVE_INFINITY) {
  const lines: string[] = [];
  const abort = new AbortController();
  const wait = new StoreWait({ retryMs, untilMs, signal: abort.signal, tell: (line) => lines.push(line) });
  return { wait, lines, abort };
}

/** Work whose every call hangs for so long before it fails. */
function hanging(ms: number, error: Error) {
  let calls = 0;
  return {
    calls: () => calls,
    work: async () => {
      calls++;
      await sleep(ms);
      throw error;
    },
  };
}

/** Work that fails with each error in turn, then returns "stored". */
function failing(...errors: Error[]) {
  const times: number[] = [];
  const startMs = Date.now();
  return {
    times,
    work: async () => {
      times.push(Date.now() - startMs);
      const error = errors.shift();
      if (error) throw error;
      return "stored";
    },
  };
}

describe("work on a store that fails", () => {
  it("is done again after longer and longer pauses, until the store is well", async () => {
    const { wait, lines } = patience(300_000);
    const { work, times } = failing(FULL, FULL, FULL, AWAY, READS_ONLY);
    const stored = wait.retry(work);
    await vi.runAllTimersAsync();
    expect(await stored).toBe("stored");
    expect(times).toEqual([0, 1_000, 3_000, 7_000, 15_000, 31_000]);
    expect(lines).toEqual([
      "The object store is full; the result is stored when it has space.",
      "The object store is unavailable; the result is stored when it is back.",
      "PostgreSQL is read-only; the result is stored when it takes writes.",
    ]);
    expect(wait.waitedMs).toBe(31_000);
  });

  it("is given up when the time of the attempt is used up, over all of its work", async () => {
    const { wait } = patience(4_000);
    const first = failing(FULL);
    const second = failing(FULL, FULL, FULL, FULL, FULL);
    const stored = wait.retry(first.work).then(() => wait.retry(second.work));
    const refused = expect(stored).rejects.toBe(FULL);
    await vi.runAllTimersAsync();
    await refused;
    expect(second.times).toEqual([1_000, 2_000, 4_000]);
  });

  it("is given up in time when each call hangs: the time counts from the first failure", async () => {
    const { wait } = patience(60_000);
    const { work, calls } = hanging(20_000, AWAY);
    const refused = expect(wait.retry(work)).rejects.toBe(AWAY);
    await vi.runAllTimersAsync();
    await refused;
    // At 20, 41, 63 and 87 s.
    expect(calls()).toBe(4);
    expect(wait.waitedMs).toBe(67_000);
  });

  it("is given up before the time of the attempt's run is used up", async () => {
    const { wait } = patience(300_000, performance.now() + 2_500);
    const { work, times } = failing(FULL, FULL, FULL, FULL, FULL);
    const refused = expect(wait.retry(work)).rejects.toBe(FULL);
    await vi.runAllTimersAsync();
    await refused;
    expect(times).toEqual([0, 1_000, 2_500]);
  });

  it("is not done again when waiting is switched off", () =>
    expect(patience(0).wait.retry(failing(FULL).work)).rejects.toBe(FULL));

  it("ends with the reason of the signal", async () => {
    const { wait, abort } = patience(300_000);
    const refused = expect(wait.retry(failing(FULL).work)).rejects.toThrow("cancelled");
    await vi.advanceTimersByTimeAsync(500);
    abort.abort(new Error("cancelled"));
    await refused;
  });
});

it.each([
  ["another fault", new TemperaError("runner_server_error")],
  ["a value that the store has lost", new TemperaError("store_unavailable", "There is no object a.")],
])("%s is not waited for", (_name, error) =>
  expect(patience(300_000).wait.retry(failing(error).work)).rejects.toBe(error),
);

it("pauses from 1 s to 30 s", () =>
  expect([0, 1, 2, 3, 4, 5, 6, 1_000].map(storePauseMs)).toEqual([
    1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000,
  ]));
