import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import { createTally, type Held, type Tally } from "./usage-counter.ts";

const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** What the records have; `undefined`: they are away. */
let recorded: number | undefined;
let counts: number;
let tally: Tally;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
  recorded = 0;
  counts = 0;
  tally = createTally({
    count: async () => {
      counts++;
      if (recorded === undefined) throw new TemperaError("store_unavailable");
      return recorded;
    },
    log: silent,
  });
});
afterEach(() => vi.useRealTimers());

const take = (max: number): Promise<Held | undefined> => tally.take("ann", max);
/** The records have it from now on. */
const record = (held: Held | undefined): void => {
  recorded = (recorded ?? 0) + 1;
  held?.recorded();
};

describe("a tally", () => {
  it("lets through what the limit allows and not one more, without a count for each", async () => {
    for (let n = 0; n < 5; n++) expect(await take(5)).toBeDefined();
    expect(counts).toBe(1);
    expect(await take(5)).toBeUndefined();
  });

  it("counts what others have, and asks again before it refuses", async () => {
    recorded = 4;
    record(await take(5));
    expect(recorded).toBe(5);
    recorded = 2;
    vi.advanceTimersByTime(200);
    expect(await take(5)).toBeDefined();
    expect(counts).toBe(2);
  });

  it("does not count the records for each call of a flood that it refuses", async () => {
    recorded = 5;
    for (let n = 0; n < 100; n++) expect(await take(5)).toBeUndefined();
    expect(counts).toBeLessThanOrEqual(2);
  });

  it("counts what is recorded once, not twice", async () => {
    for (let n = 0; n < 4; n++) record(await take(5));
    vi.advanceTimersByTime(LIMITS.tallyMs + 1);
    await take(5);
    await Promise.resolve();
    vi.advanceTimersByTime(200);
    expect(await take(5)).toBeUndefined();
    recorded = 0;
    vi.advanceTimersByTime(200);
    // The last one taken is not recorded yet: four are left.
    for (let n = 0; n < 4; n++) expect(await take(5)).toBeDefined();
    expect(await take(5)).toBeUndefined();
  });

  it("forgets what did not come about", async () => {
    (await take(1))?.drop();
    expect(await take(1)).toBeDefined();
  });

  it("goes on adding up while the records are away", async () => {
    recorded = 3;
    record(await take(5));
    recorded = undefined;
    vi.advanceTimersByTime(LIMITS.tallyMs + 1);
    expect(await take(5)).toBeDefined();
    vi.advanceTimersByTime(LIMITS.tallyMs + 1);
    expect(await take(5)).toBeUndefined();
  });
});
