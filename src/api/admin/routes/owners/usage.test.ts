import { expect, it } from "vitest";
import { LIMITS } from "../../../../core/limits.ts";
import { addUsageRoutes } from "./usage.ts";

type Handler = (request: object) => Promise<object>;

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

it("refuses a query whose rows would be cut off, because sums of incomplete rows are wrong", async () => {
  const handlers = new Map<string, Handler>();
  let rowCount = LIMITS.usageRowsMax;
  const rows = async ({ limit }: { limit: number }) =>
    Array.from({ length: Math.min(limit, rowCount) }, () => ({ ...sum, atMs: 0, day: "" }));
  addUsageRoutes(
    ((route: { method: string; path: string }, handle: Handler) =>
      handlers.set(`${route.method} ${route.path}`, handle)) as never,
    {
      ledger: { buckets: rows, totals: rows } as never,
      schedules: {} as never,
      clock: { nowMs: () => 1_000_000 },
    },
  );
  const get = (path: string): Promise<object> | undefined =>
    handlers.get(`get ${path}`)?.({
      query: { bound_to_timeframe: "true", timeframe: "minute", timezone: "UTC", expand: ["summary"] },
    });
  for (const path of ["/v1/models/usage", "/v1/tempera/usage"]) {
    rowCount = LIMITS.usageRowsMax;
    await get(path);
    rowCount++;
    await expect(get(path)).rejects.toMatchObject({
      code: "input_invalid",
      message: expect.stringContaining("ask for less time"),
    });
  }
});
