import { expect, it } from "vitest";
import { LIMITS } from "../../../../core/limits.ts";
import { addUsageVerbs } from "./usage.ts";

type Handler = (asked: object) => Promise<object>;

const sum = {
  endpoint: "a/b",
  unit: "image",
  unitPrice: 1,
  currency: "USD",
  quantity: 1,
  cost: 1,
  requests: 1,
  results: 1,
};

it("refuses what would be cut off: sums with rows missing are wrong", async () => {
  const verbs = new Map<string, Handler>();
  let there = LIMITS.usageRowsMax;
  const rows = async ({ limit }: { limit: number }) =>
    Array.from({ length: Math.min(limit, there) }, () => ({ ...sum, atMs: 0, day: "" }));
  addUsageVerbs(
    ((verb: { method: string; path: string }, handle: Handler) =>
      verbs.set(`${verb.method} ${verb.path}`, handle)) as never,
    {
      ledger: { buckets: rows, totals: rows } as never,
      schedules: {} as never,
      clock: { nowMs: () => 1_000_000 },
    },
  );
  const ask = (path: string): Promise<object> | undefined =>
    verbs.get(`get ${path}`)?.({
      query: { bound_to_timeframe: "true", timeframe: "minute", timezone: "UTC", expand: ["summary"] },
    });
  for (const path of ["/v1/models/usage", "/v1/tempera/usage"]) {
    there = LIMITS.usageRowsMax;
    await ask(path);
    there++;
    await expect(ask(path)).rejects.toMatchObject({
      code: "input_invalid",
      message: expect.stringContaining("ask for less time"),
    });
  }
});
