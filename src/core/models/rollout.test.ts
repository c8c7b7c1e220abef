import { describe, expect, it } from "vitest";
import { judge, type RolloutRules, rolloutBucket, type VersionRecord } from "./rollout.ts";

const RULES: RolloutRules = { windowSeconds: 300, requestsMin: 20, errorMargin: 2, p95Ratio: 1.5 };
const ROLLOUT = { fromVersion: "1.0.0", toVersion: "1.1.0", changedAtMs: 0 };
const GOOD: VersionRecord = { ended: 1000, failed: 10, p95Ms: 1000 };

const verdict = (
  to: VersionRecord,
  {
    rules = {},
    from = GOOD,
    nowMs = 60_000,
  }: { rules?: Partial<RolloutRules>; from?: VersionRecord; nowMs?: number } = {},
) => judge(ROLLOUT, { ...RULES, ...rules }, { from, to }, nowMs);

describe("judge", () => {
  it("decides nothing on too few requests, however bad", () =>
    expect(verdict({ ended: 19, failed: 19 })).toEqual({
      keep: "1.1.0 has ended 19 requests; 20 are needed.",
    }));

  it("rolls back above the error margin and names the numbers", () => {
    // 3 % beside 1 % is exactly the margin.
    expect(verdict({ ended: 100, failed: 3, p95Ms: 1000 })).toHaveProperty("keep");
    expect(verdict({ ended: 100, failed: 4, p95Ms: 1000 })).toEqual({
      rollBack:
        "1.1.0 fails 4.0 % of 100 requests in 300 s, 1.0.0 fails 1.0 % of 1000; " +
        "2 percentage points more are allowed.",
    });
  });

  it("rolls back above the p95 ratio", () => {
    expect(verdict({ ended: 100, failed: 1, p95Ms: 1500 })).toHaveProperty("keep");
    expect(verdict({ ended: 100, failed: 1, p95Ms: 1501 })).toEqual({
      rollBack: "1.1.0 has a p95 of 1501 ms in 300 s, 1.0.0 one of 1000 ms; 1.5 times that is allowed.",
    });
  });

  it("compares only with zero errors when the older version ended no requests", () => {
    const none = { ended: 0, failed: 0 };
    expect(verdict({ ended: 100, failed: 1, p95Ms: 9000 }, { from: none })).toHaveProperty("keep");
    expect(verdict({ ended: 100, failed: 50 }, { from: none })).toHaveProperty("rollBack");
  });

  it("promotes after promoteAfterSeconds, and never without it", () => {
    const to = { ended: 100, failed: 0, p95Ms: 900 };
    expect(verdict(to, { nowMs: 9e12 })).toEqual({ keep: "1.1.0 is not worse. Promote it by hand." });
    expect(verdict(to, { rules: { promoteAfterSeconds: 60 }, nowMs: 59_999 })).toHaveProperty("keep");
    expect(verdict(to, { rules: { promoteAfterSeconds: 60 }, nowMs: 60_000 })).toHaveProperty("promote");
  });
});

/** Ids that differ as little as possible, so that a weak hash would show. */
const IDS = Array.from(
  { length: 20_000 },
  (_, i) => `019aa7e2-0000-7000-8000-${i.toString(16).padStart(12, "0")}`,
);

describe("placeWithin", () => {
  it("is the same in every call and process", () => {
    expect(rolloutBucket("fal-ai/qwen-image", "019aa7e2-0000-7000-8000-000000000000")).toBeCloseTo(
      55.16989,
      4,
    );
  });

  it.each([1, 10, 50, 90])("puts %i % of the request ids below that share", (share) => {
    const chosen = IDS.filter((id) => rolloutBucket("acme/echo", id) < share).length;
    // Four standard deviations of a fair draw.
    const deviation = Math.sqrt(IDS.length * (share / 100) * (1 - share / 100));
    expect(Math.abs(chosen - (IDS.length * share) / 100)).toBeLessThan(4 * deviation);
  });

  it("is evenly spread over ten classes (chi-squared)", () => {
    const tenths = new Array<number>(10).fill(0);
    for (const id of IDS) {
      const tenth = Math.floor(rolloutBucket("acme/echo", id) / 10);
      tenths[tenth] = (tenths[tenth] ?? 0) + 1;
    }
    const expected = IDS.length / 10;
    const chiSquared = tenths.reduce((sum, seen) => sum + (seen - expected) ** 2 / expected, 0);
    expect(chiSquared).toBeLessThan(33.7); // p = 0.0001 at 9 degrees of freedom
  });

  it("keeps everybody in a share that is raised, and is unrelated between endpoints", () => {
    const at10 = IDS.filter((id) => rolloutBucket("acme/echo", id) < 10);
    expect(at10.every((id) => rolloutBucket("acme/echo", id) < 20)).toBe(true);
    const both = at10.filter((id) => rolloutBucket("acme/other", id) < 10).length;
    expect(both / at10.length).toBeLessThan(0.15);
  });
});
