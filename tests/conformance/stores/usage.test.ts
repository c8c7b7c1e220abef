import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectPostgres, type Sql } from "../../../src/adapters/postgres/connection.ts";
import { createUsageLedger } from "../../../src/adapters/postgres/owners/usage-ledger.ts";
import { createRequestStore } from "../../../src/adapters/postgres/requests/request-store.ts";
import type { UsageLedger } from "../../../src/core/owners/usage-ledger.ts";
import type { JobSpec } from "../../../src/core/requests/job.ts";
import type { Outcome } from "../../../src/core/requests/request.ts";
import { newRequestId } from "../../../src/core/requests/request-id.ts";
import type { RequestStore } from "../../../src/core/requests/request-store.ts";
import { leakCheck } from "../../setup/leak-check.ts";
import { testDatabase } from "../../setup/test-database.ts";
import { jobSpec } from "./job-spec.ts";

leakCheck();

const DAY_MS = 86_400_000;
const NOW_MS = Date.UTC(2026, 5, 15, 12);

let database: Awaited<ReturnType<typeof testDatabase>>;
let sql: Sql;
let requests: RequestStore;
let ledger: UsageLedger;
beforeAll(async () => {
  database = await testDatabase();
  sql = connectPostgres(database.url, { maxConnections: 5 });
  requests = createRequestStore(sql);
  ledger = createUsageLedger(sql);
});
afterAll(async () => {
  await sql.end({ timeout: 2 });
  await database[Symbol.asyncDispose]();
});

const job = (over: Partial<JobSpec> = {}): JobSpec =>
  jobSpec({
    submittedAtMs: NOW_MS - 1000,
    price: { unit: "image", unitPrice: 0.1, currency: "USD" },
    ...over,
  });
const made = (units: number): Outcome => ({
  ok: true,
  output: { inline: {} },
  metrics: { inference_time: 0.5 },
  units,
});
const failed: Outcome = { ok: false, error: { code: "internal_error", message: "no" }, metrics: {} };
const finish = (of: JobSpec, outcome: Outcome, endedAtMs = NOW_MS, attempts = 1) =>
  requests.finish({ job: of, outcome, attempts, endedAtMs, logs: [] });
const all = { startMs: 0, endMs: NOW_MS * 2 };

describe("the ledger", () => {
  it("has one entry per request, however often and by whomever it is ended", async () => {
    const spec = job();
    await Promise.all(
      Array.from({ length: 8 }, (_, i) => finish(spec, i % 2 === 0 ? made(i) : failed, NOW_MS + i, i + 1)),
    );
    const existing = (await requests.find(spec.requestId))?.outcome;
    const entries = await ledger.entries({ ...all, requestIds: [spec.requestId], limit: 10 });
    expect(entries).toHaveLength(1);
    expect(entries[0]).toMatchObject({
      ok: existing?.ok,
      units: existing?.ok ? existing.units : 0,
      price: spec.price,
    });
  });

  it("keeps its entry when the record is deleted, and writes no second one for a repeated end", async () => {
    const spec = job({ node: { pipelineId: newRequestId(), id: "n" } });
    await finish(spec, made(2));
    await sql`DELETE FROM requests WHERE request_id = ${spec.requestId}`;
    await finish(spec, made(9));
    const [entry, ...more] = await ledger.entries({ ...all, requestIds: [spec.requestId], limit: 10 });
    expect(more).toEqual([]);
    expect(entry).toMatchObject({ units: 2, parentId: spec.node?.pipelineId });
  });

  it("sums by bucket, owner and price, in the requested time zone", async () => {
    const ownerId = randomUUID();
    const own = (over: Partial<JobSpec> = {}) => job({ ownerId, ...over });
    await finish(own(), made(2), NOW_MS);
    await finish(own(), made(3), NOW_MS + 1, 3);
    await finish(own(), failed, NOW_MS + 2, 5);
    await finish(own({ price: { unit: "image", unitPrice: 0.2, currency: "USD" } }), made(1), NOW_MS + 3);
    await finish(own({ endpoint: "c/d" }), made(1), NOW_MS - DAY_MS);
    // 23:30 in UTC is the next day in Berlin.
    await finish(own({ endpoint: "c/d" }), made(1), Date.UTC(2026, 5, 13, 23, 30));
    const days = await ledger.buckets({
      ...all,
      ownerId,
      timeframe: "day",
      timezone: "Europe/Berlin",
      limit: 100,
    });
    expect(
      days.map(({ atMs, endpoint, quantity, requests: n }) => [
        new Date(atMs).toISOString(),
        endpoint,
        quantity,
        n,
      ]),
    ).toEqual([
      ["2026-06-13T22:00:00.000Z", "c/d", 2, 2],
      ["2026-06-14T22:00:00.000Z", "a/b", 5, 3],
      ["2026-06-14T22:00:00.000Z", "a/b", 1, 1],
    ]);
    const totals = await ledger.totals({ ...all, ownerId, limit: 100 });
    expect(totals).toHaveLength(4);
    expect(totals[0]).toEqual({
      ownerId,
      day: "2026-06-15",
      endpoint: "a/b",
      unit: "image",
      unitPrice: 0.1,
      currency: "USD",
      quantity: 5,
      cost: 0.5,
      requests: 3,
      results: 2,
      deviceSeconds: 1,
      attempts: 9,
      attemptsUncounted: 7,
    });
  });

  it("pages from the newest entry on, each once", async () => {
    const ownerId = randomUUID();
    for (let i = 0; i < 7; i++) await finish(job({ ownerId }), made(1), NOW_MS + (i >> 1));
    const seen: string[] = [];
    let before: { atMs: number; requestId: string } | undefined;
    for (;;) {
      const page = await ledger.entries({ ...all, ownerId, limit: 3, ...(before && { before }) });
      seen.push(...page.map(({ requestId }) => requestId));
      const last = page.at(-1);
      if (page.length < 3 || !last) break;
      before = { atMs: last.endedAtMs, requestId: last.requestId };
    }
    expect(new Set(seen).size).toBe(7);
    expect(seen).toHaveLength(7);
  });

  it("writes missing entries from the records, and none twice", async () => {
    const spec = job();
    await finish(spec, made(4), NOW_MS + 500);
    await sql`DELETE FROM usage WHERE request_id = ${spec.requestId}`;
    expect(await ledger.known([spec.requestId])).toEqual(new Map());
    const window = { fromMs: NOW_MS + 400, untilMs: NOW_MS + 600 };
    expect(await ledger.writeMissing(window, 10)).toEqual([spec.requestId]);
    expect(await ledger.writeMissing(window, 10)).toEqual([]);
    expect(await ledger.known([spec.requestId])).toEqual(new Map([[spec.requestId, true]]));
    expect((await ledger.entries({ ...all, requestIds: [spec.requestId], limit: 1 }))[0]?.units).toBe(4);
  });

  it("stores the findings of a check; a second check of the same window adds its writes", async () => {
    const check = {
      checkedAtMs: 5,
      fromMs: 1,
      untilMs: 4,
      workflows: 9,
      written: 2,
      differences: [{ requestId: "x", description: "odd" }],
    };
    await ledger.recordCheck(check);
    await ledger.recordCheck({ ...check, checkedAtMs: 6, written: 0, differences: [] });
    expect(await ledger.checks(10)).toEqual([{ ...check, checkedAtMs: 6, differences: [] }]);
  });
});
