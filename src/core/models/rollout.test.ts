import { describe, expect, it } from "vitest";
import { judge, type RolloutRules, type VersionRecord } from "./rollout.ts";

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
  it("says nothing on too few requests, however bad", () =>
    expect(verdict({ ended: 19, failed: 19 })).toEqual({
      keep: "1.1.0 ended 19 requests of the 20 that are needed.",
    }));

  it("rolls back above the margin of errors, and says by how much", () => {
    expect(verdict({ ended: 100, failed: 3, p95Ms: 1000 })).toHaveProperty("keep"); // 3 % beside 1 %: exactly the margin
    expect(verdict({ ended: 100, failed: 4, p95Ms: 1000 })).toEqual({
      rollBack:
        "1.1.0 fails 4.0 % of 100 requests in 300 s, 1.0.0 fails 1.0 % of 1000; 2 points more are allowed.",
    });
  });

  it("rolls back above the ratio of p95s", () => {
    expect(verdict({ ended: 100, failed: 1, p95Ms: 1500 })).toHaveProperty("keep");
    expect(verdict({ ended: 100, failed: 1, p95Ms: 1501 })).toEqual({
      rollBack: "1.1.0 has a p95 of 1501 ms in 300 s, 1.0.0 one of 1000 ms; 1.5 times that are allowed.",
    });
  });

  it("compares with nothing where the older version did nothing", () => {
    const none = { ended: 0, failed: 0 };
    expect(verdict({ ended: 100, failed: 1, p95Ms: 9000 }, { from: none })).toHaveProperty("keep");
    expect(verdict({ ended: 100, failed: 50 }, { from: none })).toHaveProperty("rollBack");
  });

  it("promotes after its time, and never without one", () => {
    const to = { ended: 100, failed: 0, p95Ms: 900 };
    expect(verdict(to, { nowMs: 9e12 })).toEqual({ keep: "1.1.0 is not worse; promote it by hand." });
    expect(verdict(to, { rules: { promoteAfterSeconds: 60 }, nowMs: 59_999 })).toHaveProperty("keep");
    expect(verdict(to, { rules: { promoteAfterSeconds: 60 }, nowMs: 60_000 })).toHaveProperty("promote");
  });
});
