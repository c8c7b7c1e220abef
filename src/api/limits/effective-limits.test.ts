import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { PlanChange } from "../../core/owners/plan-store.ts";
import { createEffectiveLimits, type EffectiveLimits } from "./effective-limits.ts";

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const ANN = { ownerId: "ann", keyId: "k1" };

let reads: number;
let answer: () => Promise<number | undefined>;
let announce: (change: PlanChange) => void;
let effectiveLimits: EffectiveLimits & AsyncDisposable;
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  reads = 0;
  answer = async () => 5;
  effectiveLimits = await createEffectiveLimits({
    plans: {
      limitsOf: async () => {
        reads++;
        const inProgress = await answer();
        return { owner: inProgress === undefined ? {} : { inProgress }, key: {} };
      },
      onChange: async (listener) => {
        announce = listener;
        return async () => {};
      },
    },
    log: silent,
  });
});
afterEach(() => vi.useRealTimers());
const limit = async (caller: { ownerId: string; keyId?: string } = ANN) =>
  (await effectiveLimits.of(caller)).owner.inProgress;

describe("the limits of a caller", () => {
  it("are read once for all calls, simultaneous and later ones", async () => {
    await Promise.all(Array.from({ length: 10 }, () => limit()));
    for (let n = 0; n < 10; n++) expect(await limit()).toBe(5);
    expect(reads).toBe(1);
  });

  it.each<PlanChange>([
    { kind: "owner", id: "ann" },
    { kind: "key", id: "k1" },
    { kind: "plan", id: "gold" },
    { kind: "unknown" },
  ])("are read again after a change of %j", async (change) => {
    await limit();
    answer = async () => 7;
    announce(change);
    expect(await limit()).toBe(7);
  });

  it.each<PlanChange>([
    { kind: "owner", id: "bob" },
    { kind: "key", id: "k2" },
  ])("stay in memory after a change of %j", async (change) => {
    await limit();
    announce(change);
    await limit();
    expect(reads).toBe(1);
  });

  it("that were read before a change are not kept after it", async () => {
    let give = (_: number): void => {};
    answer = () => new Promise((resolve) => (give = resolve));
    const early = limit();
    await expect.poll(() => reads).toBe(1);
    announce({ kind: "owner", id: "ann" });
    answer = async () => 7;
    give(5);
    await early;
    expect(await limit()).toBe(7);
  });

  it("are read again behind a call when they are old, and the call does not wait for that", async () => {
    await limit();
    vi.advanceTimersByTime(LIMITS.limitsCacheMs);
    answer = async () => 7;
    expect(await limit()).toBe(5);
    await Promise.resolve();
    await expect.poll(() => limit()).toBe(7);
    expect(reads).toBe(2);
  });
});

describe("while the store is unavailable", () => {
  it("those read last stay valid, and are not read with every call", async () => {
    await limit();
    answer = () => Promise.reject(new TemperaError("store_unavailable"));
    vi.advanceTimersByTime(LIMITS.limitsCacheMs);
    for (let n = 0; n < 10; n++) expect(await limit()).toBe(5);
    expect(reads).toBe(2);
    vi.advanceTimersByTime(LIMITS.keyCacheMs);
    answer = async () => 7;
    await limit();
    await expect.poll(() => limit()).toBe(7);
  });

  it("those read last stay valid even after an invalidation: an outage lifts no limit", async () => {
    await limit();
    answer = () => Promise.reject(new TemperaError("store_unavailable"));
    announce({ kind: "unknown" });
    expect(await limit()).toBe(5);
    announce({ kind: "unknown" });
    expect(await limit()).toBe(5);
    answer = async () => 7;
    announce({ kind: "owner", id: "ann" });
    expect(await limit()).toBe(7);
  });

  it("an unknown caller has the platform's limits and private files, until the store is back", async () => {
    answer = () => Promise.reject(new TemperaError("store_unavailable"));
    expect(await limit()).toBeUndefined();
    expect((await effectiveLimits.of(ANN)).owner).toEqual({ privateFiles: true });
    answer = async () => 7;
    vi.advanceTimersByTime(LIMITS.keyCacheMs);
    await limit();
    await expect.poll(() => limit()).toBe(7);
  });
});

it("keeps a bounded number of callers", async () => {
  for (let n = 0; n <= LIMITS.limitsCachedMax; n++) await limit({ ownerId: `o${n}` });
  const before = reads;
  await limit({ ownerId: "o0" });
  expect(reads).toBe(before + 1);
  await limit({ ownerId: `o${LIMITS.limitsCachedMax}` });
  expect(reads).toBe(before + 1);
});
