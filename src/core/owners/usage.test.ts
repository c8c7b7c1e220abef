import { describe, expect, it } from "vitest";
import type { JobSpec } from "../requests/job.ts";
import type { Outcome } from "../requests/request.ts";
import { billableUnits, unitsMade, usageOf } from "./usage.ts";

describe("billableUnits", () => {
  it.each([
    ["image", { images: [{}, {}, {}] }, 3],
    ["images", { image: { url: "x" } }, 1],
    ["image", { text: "none" }, 1],
    [
      "megapixel",
      {
        images: [
          { width: 1024, height: 1024 },
          { width: 500, height: 400 },
        ],
      },
      1.248576,
    ],
    ["megapixel", { images: [{ width: -1, height: "x" }, null] }, 1],
    ["second", {}, 2.345679],
    ["request", { images: [{}, {}] }, 1],
    ["video", {}, 1],
  ])("counts in %s of %j: %d", (unit, output, units) => {
    expect(billableUnits(unit, output as never, 2.3456789)).toBe(units);
  });
});

describe("usageOf", () => {
  const job = {
    requestId: "r",
    ownerId: "o",
    keyId: "k",
    endpoint: "e",
    version: "1.0.0",
    price: { unit: "image", unitPrice: 0.05, currency: "EUR" },
    node: { pipelineId: "p", id: "n" },
  } as unknown as JobSpec;
  const ok: Outcome = { ok: true, output: { inline: {} }, metrics: { inference_time: 1.5 }, units: 4 };
  const failed: Outcome = { ok: false, error: { code: "runner_disconnected", message: "gone" }, metrics: {} };

  it("counts the attempt that produced the output, and none before it", () => {
    expect(usageOf({ job, outcome: ok, attempts: 3, endedAtMs: 7 })).toEqual({
      requestId: "r",
      parentId: "p",
      ownerId: "o",
      keyId: "k",
      endpoint: "e",
      version: "1.0.0",
      endedAtMs: 7,
      ok: true,
      units: 4,
      price: job.price,
      deviceSeconds: 1.5,
      attempts: 3,
      attemptsUncounted: 2,
    });
  });
  it("counts nothing of a failure or a reused result, and one request at price 0 without a price", () => {
    expect(usageOf({ job, outcome: failed, attempts: 5, endedAtMs: 7 })).toMatchObject({
      ok: false,
      units: 0,
      attemptsUncounted: 5,
    });
    expect(usageOf({ job, outcome: ok, attempts: 0, endedAtMs: 7 })).toMatchObject({
      ok: true,
      units: 0,
      attemptsUncounted: 0,
    });
    const { price: _, ...free } = job;
    const { units: __, ...plain } = ok;
    expect(
      usageOf({ job: free as JobSpec, outcome: plain as Outcome, attempts: 1, endedAtMs: 7 }),
    ).toMatchObject({
      units: 1,
      price: { unit: "request", unitPrice: 0, currency: "USD" },
    });
  });
});

it("unitsMade counts an output for its own request, also in a later attempt, and for no other", () => {
  const output = { images: [{}, {}] };
  expect(unitsMade("image", output, { cache: "miss", inferenceMs: 1_500 })).toBe(2);
  expect(unitsMade("image", output, { cache: "miss" })).toBe(2);
  expect(unitsMade("image", output, { cache: "hit" })).toBe(0);
});
