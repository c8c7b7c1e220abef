import { beforeEach, describe, expect, it } from "vitest";
import { createMemoryQuotas } from "../../adapters/memory/quotas.ts";
import type { CallerAllowance } from "../../core/owners/plan-store.ts";
import type { Quota, Quotas } from "../../core/owners/quotas.ts";
import { createOwnerLimits, type OwnerLimits, rateWindow } from "./owner-limits.ts";

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const CALLER = { ownerId: "ann", keyId: "k1", scope: "API" as const };

let allowance: CallerAllowance;
let asked: Quota[];
let limits: OwnerLimits;
beforeEach(() => {
  allowance = { owner: {}, key: {} };
  asked = [];
  const memory = createMemoryQuotas();
  const quotas: Quotas = {
    ...memory,
    take: (quota, points) => {
      asked.push(quota);
      return memory.take(quota, points);
    },
  };
  limits = createOwnerLimits({
    allowances: { of: async () => allowance },
    quotas,
    load: {
      unfinished: () => Promise.reject(new Error("asked")),
      spent: () => Promise.reject(new Error("asked")),
    },
    log: silent,
  });
});
const outcomes = async (count: number): Promise<string[]> => {
  const all = [];
  for (let n = 0; n < count; n++)
    all.push(
      await limits.call(CALLER).then(
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
  it("without a limit ask nobody", async () => {
    await outcomes(3);
    expect(await limits.queue(CALLER)).toBeUndefined();
    expect(await limits.spend(CALLER, { unit: "image", unitPrice: 1, currency: "USD" })).toBeDefined();
    (await limits.upload("ann", 1e12))();
    expect(asked).toEqual([]);
  });

  it("take the steady part, then the burst, then are refused", async () => {
    allowance.owner = { requestsPerSecond: 0.01, burst: 2 };
    expect(await outcomes(4)).toEqual(["taken", "taken", "taken", "rate_limited"]);
    // The burst is back when the steady rate has made up for it.
    expect(asked.find(({ name }) => name === "calls:burst")?.windowSeconds).toBe(200);
  });

  it("count for the key and for its owner", async () => {
    allowance = { owner: { requestsPerSecond: 100 }, key: { requestsPerSecond: 0.01 } };
    expect(await outcomes(2)).toEqual(["taken", "rate_limited"]);
    expect(new Set(asked.map(({ name }) => name))).toEqual(new Set(["calls", "calls:k1"]));
    await expect(limits.call(CALLER)).rejects.toThrow(/^This key may make 0.01 calls a second/);
  });
});
