import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Reservation } from "./reservations.ts";
import { UsageCounter } from "./usage-counter.ts";

const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** The count in the stores; `undefined` while they are unavailable. */
let recorded: number | undefined;
let counts: number;
let counter: UsageCounter;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
  recorded = 0;
  counts = 0;
  counter = new UsageCounter({
    count: async () => {
      counts++;
      if (recorded === undefined) throw new TemperaError("store_unavailable");
      return recorded;
    },
    log: silent,
  });
});
afterEach(() => vi.useRealTimers());

const reserve = (max: number): Promise<Reservation | undefined> => counter.reserve("ann", max);
/** Puts a reserved request into the stores. */
const record = (reservation: Reservation | undefined): void => {
  recorded = (recorded ?? 0) + 1;
  reservation?.markRecorded();
};

describe("a usage counter", () => {
  it("allows as much as the limit and not one more, without a count for each", async () => {
    for (let n = 0; n < 5; n++) expect(await reserve(5)).toBeDefined();
    expect(counts).toBe(1);
    expect(await reserve(5)).toBeUndefined();
  });

  it("includes the usage of other gateways, and counts again before it refuses", async () => {
    recorded = 4;
    record(await reserve(5));
    expect(recorded).toBe(5);
    recorded = 2;
    vi.advanceTimersByTime(200);
    expect(await reserve(5)).toBeDefined();
    expect(counts).toBe(2);
  });

  it("does not count the stores for each call of a flood that it refuses", async () => {
    recorded = 5;
    for (let n = 0; n < 100; n++) expect(await reserve(5)).toBeUndefined();
    expect(counts).toBeLessThanOrEqual(2);
  });

  it("counts a recorded reservation once, not twice", async () => {
    for (let n = 0; n < 4; n++) record(await reserve(5));
    vi.advanceTimersByTime(LIMITS.usageCounterMs + 1);
    await reserve(5);
    await Promise.resolve();
    vi.advanceTimersByTime(200);
    expect(await reserve(5)).toBeUndefined();
    recorded = 0;
    vi.advanceTimersByTime(200);
    // The last reservation is not recorded yet: four are left.
    for (let n = 0; n < 4; n++) expect(await reserve(5)).toBeDefined();
    expect(await reserve(5)).toBeUndefined();
  });

  it("frees what a released reservation used up", async () => {
    (await reserve(1))?.release();
    expect(await reserve(1)).toBeDefined();
  });

  it("goes on adding up while the stores are unavailable", async () => {
    recorded = 3;
    record(await reserve(5));
    recorded = undefined;
    vi.advanceTimersByTime(LIMITS.usageCounterMs + 1);
    expect(await reserve(5)).toBeDefined();
    vi.advanceTimersByTime(LIMITS.usageCounterMs + 1);
    expect(await reserve(5)).toBeUndefined();
  });
});
