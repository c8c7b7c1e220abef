import { describe, expect, it } from "vitest";
import { rolloutBucket } from "./rollout-bucket.ts";

/** Ids as close to one another as they come: a hash that is not one would show. */
const IDS = Array.from(
  { length: 20_000 },
  (_, i) => `019aa7e2-0000-7000-8000-${i.toString(16).padStart(12, "0")}`,
);

describe("placeWithin", () => {
  it("is the same every time, for everybody", () => {
    expect(rolloutBucket("fal-ai/qwen-image", "019aa7e2-0000-7000-8000-000000000000")).toBeCloseTo(
      55.16989,
      4,
    );
  });

  it.each([1, 10, 50, 90])("puts %i in a hundred request ids below that share", (share) => {
    const chosen = IDS.filter((id) => rolloutBucket("acme/echo", id) < share).length;
    // Four standard deviations of a fair draw.
    const deviation = Math.sqrt(IDS.length * (share / 100) * (1 - share / 100));
    expect(Math.abs(chosen - (IDS.length * share) / 100)).toBeLessThan(4 * deviation);
  });

  it("fills every tenth alike: chi-squared of ten classes", () => {
    const tenths = new Array<number>(10).fill(0);
    for (const id of IDS) {
      const tenth = Math.floor(rolloutBucket("acme/echo", id) / 10);
      tenths[tenth] = (tenths[tenth] ?? 0) + 1;
    }
    const expected = IDS.length / 10;
    const chiSquared = tenths.reduce((sum, seen) => sum + (seen - expected) ** 2 / expected, 0);
    expect(chiSquared).toBeLessThan(33.7); // p = 0.0001 at 9 degrees of freedom
  });

  it("keeps who was in a share when it is raised, and tells endpoints apart", () => {
    const at10 = IDS.filter((id) => rolloutBucket("acme/echo", id) < 10);
    expect(at10.every((id) => rolloutBucket("acme/echo", id) < 20)).toBe(true);
    const both = at10.filter((id) => rolloutBucket("acme/other", id) < 10).length;
    expect(both / at10.length).toBeLessThan(0.15);
  });
});
