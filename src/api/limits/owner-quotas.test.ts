import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { PlanChange } from "../../core/owners/plan-store.ts";
import { type Allowances, createAllowances } from "./owner-quotas.ts";

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const ANN = { ownerId: "ann", keyId: "k1" };

let reads: number;
let answer: () => Promise<number | undefined>;
let tell: (change: PlanChange) => void;
let allowances: Allowances & AsyncDisposable;
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  reads = 0;
  answer = async () => 5;
  allowances = await createAllowances({
    plans: {
      allowanceOf: async () => {
        reads++;
        const inProgress = await answer();
        return { owner: inProgress === undefined ? {} : { inProgress }, key: {} };
      },
      onChange: async (listener) => {
        tell = listener;
        return async () => {};
      },
    },
    log: silent,
  });
});
afterEach(() => vi.useRealTimers());
const limit = async (caller: { ownerId: string; keyId?: string } = ANN) =>
  (await allowances.of(caller)).owner.inProgress;

describe("what a caller may use", () => {
  it("is asked for once, however many ask at once and afterwards", async () => {
    await Promise.all(Array.from({ length: 10 }, () => limit()));
    for (let n = 0; n < 10; n++) expect(await limit()).toBe(5);
    expect(reads).toBe(1);
  });

  it.each<PlanChange>([
    { kind: "owner", id: "ann" },
    { kind: "key", id: "k1" },
    { kind: "plan", id: "gold" },
    { kind: "unknown" },
  ])("is asked for again after a change of %j", async (change) => {
    await limit();
    answer = async () => 7;
    tell(change);
    expect(await limit()).toBe(7);
  });

  it.each<PlanChange>([
    { kind: "owner", id: "bob" },
    { kind: "key", id: "k2" },
  ])("stays known after a change of %j", async (change) => {
    await limit();
    tell(change);
    await limit();
    expect(reads).toBe(1);
  });

  it("that was read before a change is not remembered after it", async () => {
    let give = (_: number): void => {};
    answer = () => new Promise((resolve) => (give = resolve));
    const early = limit();
    tell({ kind: "owner", id: "ann" });
    answer = async () => 7;
    give(5);
    await early;
    expect(await limit()).toBe(7);
  });

  it("is asked for again behind the call when no word of it came for long, and a call does not wait for that", async () => {
    await limit();
    vi.advanceTimersByTime(LIMITS.allowanceCacheMs);
    answer = async () => 7;
    expect(await limit()).toBe(5);
    await Promise.resolve();
    await expect.poll(() => limit()).toBe(7);
    expect(reads).toBe(2);
  });
});

describe("while the store is away", () => {
  it("is what was known last, and is not asked for with every call", async () => {
    await limit();
    answer = () => Promise.reject(new TemperaError("store_unavailable"));
    vi.advanceTimersByTime(LIMITS.allowanceCacheMs);
    for (let n = 0; n < 10; n++) expect(await limit()).toBe(5);
    expect(reads).toBe(2);
    vi.advanceTimersByTime(LIMITS.keyCacheMs);
    answer = async () => 7;
    await limit();
    await expect.poll(() => limit()).toBe(7);
  });

  it("is what was known last, also when that was forgotten: a database that comes and goes lifts no limit", async () => {
    await limit();
    answer = () => Promise.reject(new TemperaError("store_unavailable"));
    tell({ kind: "unknown" });
    expect(await limit()).toBe(5);
    tell({ kind: "unknown" });
    expect(await limit()).toBe(5);
    answer = async () => 7;
    tell({ kind: "owner", id: "ann" });
    expect(await limit()).toBe(7);
  });

  it("is nothing beyond the platform's own limits for somebody unknown, until the store is back", async () => {
    answer = () => Promise.reject(new TemperaError("store_unavailable"));
    expect(await limit()).toBeUndefined();
    answer = async () => 7;
    vi.advanceTimersByTime(LIMITS.keyCacheMs);
    await limit();
    await expect.poll(() => limit()).toBe(7);
  });
});

it("remembers no more callers than it may", async () => {
  for (let n = 0; n <= LIMITS.allowancesRememberedMax; n++) await limit({ ownerId: `o${n}` });
  const before = reads;
  await limit({ ownerId: "o0" });
  expect(reads).toBe(before + 1);
  await limit({ ownerId: `o${LIMITS.allowancesRememberedMax}` });
  expect(reads).toBe(before + 1);
});
