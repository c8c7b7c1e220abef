import { expect, it } from "vitest";
import { addRequestRoutes } from "./requests.ts";

const IDS = [1, 2, 3].map((n) => `019a0000-0000-7000-8000-00000000000${n}`);

it("shows the units that the ledger bills: none for a cached result or an error", async () => {
  let list: ((request: object) => Promise<{ items: { billable_units: number }[] }>) | undefined;
  addRequestRoutes(
    ((route: { path: string }, handle: never) => {
      if (route.path.includes("serverless")) list = handle;
    }) as never,
    {
      requestSearch: {
        ended: async () =>
          IDS.map((requestId) => ({
            requestId,
            endpoint: "a/b",
            submittedAtMs: 0,
            endedAtMs: 1,
            statusCode: 200,
            seconds: 1,
          })),
        payloads: async () =>
          new Map([
            [IDS[0], { outcome: { ok: true, units: 2, output: { inline: {} }, metrics: {} } }],
            [IDS[1], { outcome: { ok: true, units: 2, cache: "hit", output: { inline: {} }, metrics: {} } }],
            [IDS[2], { outcome: { ok: false, error: { code: "input_invalid", message: "" }, metrics: {} } }],
          ]),
      },
      objects: {},
      clock: { nowMs: () => 1_000_000 },
    } as never,
  );
  const page = await list?.({
    query: { endpoint_id: ["a/b"], limit: 10, sort_by: "ended_at" },
    caller: { ownerId: "ann", scope: "API" },
  });
  expect(page?.items.map(({ billable_units }) => billable_units)).toEqual([2, 0, 0]);
});
