import { beforeEach, describe, expect, it } from "vitest";
import { createMemoryQuotas } from "../../adapters/memory/quotas.ts";
import type { CallerLimits } from "../../core/owners/plan-store.ts";
import type { Quota, Quotas } from "../../core/owners/quotas.ts";
import { createOwnerLimits, type OwnerLimits, rateWindow } from "./owner-limits.ts";

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const CALLER = { ownerId: "ann", keyId: "k1", scope: "API" as const };

let limitsOfCaller: CallerLimits;
let counted: Quota[];
let limits: OwnerLimits;
beforeEach(() => {
  limitsOfCaller = { owner: {}, key: {} };
  counted = [];
  const memory = createMemoryQuotas();
  const quotas: Quotas = {
    ...memory,
    take: (quota, points) => {
      counted.push(quota);
      return memory.take(quota, points);
    },
  };
  limits = createOwnerLimits({
    effectiveLimits: { of: async () => limitsOfCaller },
    quotas,
    load: {
      unfinished: () => Promise.reject(new Error("the stores were counted")),
      spent: () => Promise.reject(new Error("the stores were counted")),
      stored: () => Promise.reject(new Error("the stores were counted")),
    },
    log: silent,
  });
});
const outcomes = async (count: number): Promise<string[]> => {
  const all = [];
  for (let n = 0; n < count; n++)
    all.push(
      await limits.countCall(CALLER).then(
        () => "taken",
        (error: { code: string }) => error.code,
      ),
    );
  return all;
};

describe("a rate", () => {
  it.each([
    [5, 5, 1],
    [100.3, 100, 1],
    [2.5, 5, 2],
    [1.9, 11, 6],
    [1, 1, 1],
    [0.5, 1, 2],
    [0.3, 2, 7],
    [0.001, 1, 1000],
  ])("of %d a second is %d in %d s", (perSecond, limit, windowSeconds) =>
    expect(rateWindow(perSecond)).toEqual({ limit, windowSeconds }),
  );
});

describe("calls", () => {
  it("need no store without a limit", async () => {
    await outcomes(3);
    expect(await limits.reserveQueued(CALLER)).toBeUndefined();
    await limits.checkStorage(CALLER);
    expect(await limits.reserveSpend(CALLER, { unit: "image", unitPrice: 1, currency: "USD" })).toBeDefined();
    (await limits.countUploadBytes("ann", 1e12))();
    expect(counted).toEqual([]);
  });

  it("use up the steady part, then the burst, and are refused after that", async () => {
    limitsOfCaller.owner = { requestsPerSecond: 0.01, burst: 2 };
    expect(await outcomes(4)).toEqual(["taken", "taken", "taken", "rate_limited"]);
    // The burst is back after as long as the steady rate takes for that many calls.
    expect(counted.find(({ name }) => name === "calls:burst")?.windowSeconds).toBe(200);
  });

  it("count for the key and for its owner", async () => {
    limitsOfCaller = { owner: { requestsPerSecond: 100 }, key: { requestsPerSecond: 0.01 } };
    expect(await outcomes(2)).toEqual(["taken", "rate_limited"]);
    expect(new Set(counted.map(({ name }) => name))).toEqual(new Set(["calls", "calls:k1"]));
    await expect(limits.countCall(CALLER)).rejects.toThrow(/^This key may make 0.01 calls a second/);
  });
});
