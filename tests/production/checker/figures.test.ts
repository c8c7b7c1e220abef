/** First tries are counted by the part that was away when they began. */
import { describe, expect, it } from "vitest";
import { planJobs } from "../load/plan.ts";
import { createRandom } from "../random.ts";
import { firstTries, percentile } from "./figures.ts";
import { type FaultRecord, Ledger, type SubmitCall } from "./ledger.ts";

const fault = (target: string, more: Partial<FaultRecord> = {}): FaultRecord => ({
  ...{ name: `kill ${target}`, target, beginMs: 100, endMs: 200, overlapped: false },
  ...more,
});
const call = (more: Partial<SubmitCall>): SubmitCall => ({
  ...{ job: 0, tryNumber: 0, isFirst: true, gateway: 0, startMs: 150, endMs: 160, status: 200 },
  ...more,
});

function count(faults: FaultRecord[], calls: SubmitCall[]) {
  const ledger = new Ledger();
  ledger.jobs.push(...planJobs(createRandom(1), 3).map((job) => ({ ...job, isBig: job.number === 2 })));
  ledger.faults.push(...faults);
  ledger.submits.push(...calls);
  return Object.fromEntries(firstTries(ledger));
}

describe("first tries", () => {
  it("count for the part that was away when they began, else for none", () => {
    const calls = [call({}), call({ job: 1, startMs: 250, endMs: 260, status: 503 })];
    expect(count([fault("redis")], calls)).toEqual({
      redis: { submits: 1, firstTry: 1, eitherGateway: 1 },
      none: { submits: 1, firstTry: 0, eitherGateway: 0 },
    });
  });

  it("that fail are mended by the next call at the other gateway, not by one at the same", () => {
    const failed = call({ status: 503 });
    const again = call({ tryNumber: 1, isFirst: false, startMs: 165, endMs: 170 });
    const other = { submits: 1, firstTry: 0, eitherGateway: 1 };
    expect(count([fault("gateway")], [failed, { ...again, gateway: 1 }])).toEqual({ gateway: other });
    expect(count([fault("gateway")], [failed, again])).toEqual({ gateway: { ...other, eitherGateway: 0 } });
  });

  it("of twins are two clients", () => {
    const twins = [call({}), call({ tryNumber: 1, gateway: 1, status: 503 })];
    expect(count([fault("engine")], twins)).toEqual({
      engine: { submits: 2, firstTry: 1, eitherGateway: 1 },
    });
  });

  it("beside overlapping faults, and of inputs that need the object store that is away, are left out", () => {
    expect(count([fault("redis", { overlapped: true })], [call({})])).toEqual({});
    expect(count([fault("object-store")], [call({ job: 2, status: 503 })])).toEqual({});
  });
});

it("takes a percentile by the nearest rank", () => {
  expect([percentile([3, 1, 2], 50), percentile([1, 2, 3, 4], 95), percentile([], 95)]).toEqual([2, 4, 0]);
});

it("plans the same jobs for the same seed, and others for another", () => {
  const plan = (seed: number) => planJobs(createRandom(seed), 50);
  expect(plan(7)).toEqual(plan(7));
  expect(plan(7)).not.toEqual(plan(8));
});
