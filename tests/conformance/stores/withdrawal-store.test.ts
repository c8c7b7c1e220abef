import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { connectPostgres, type Sql } from "../../../src/adapters/postgres/connection.ts";
import { createIdempotencyStore } from "../../../src/adapters/postgres/requests/idempotency-store.ts";
import { createWithdrawalStore } from "../../../src/adapters/postgres/requests/withdrawal-store.ts";
import { claimedRequestId, dayOf } from "../../../src/core/requests/claimed-request-id.ts";
import { identityOf } from "../../../src/core/requests/request.ts";
import { leakCheck } from "../../setup/leak-check.ts";
import { testDatabase } from "../../setup/test-database.ts";
import { jobSpec } from "./job-spec.ts";

leakCheck();

let database: Awaited<ReturnType<typeof testDatabase>>;
let sql: Sql;
beforeAll(async () => {
  database = await testDatabase();
  sql = connectPostgres(database.url, { maxConnections: 1 });
});
afterAll(async () => {
  await sql.end({ timeout: 2 });
  await database[Symbol.asyncDispose]();
});

describe("withdrawals", () => {
  beforeEach(() => sql`DELETE FROM withdrawals`);

  it("are noted once each, with their request, until they are removed", async () => {
    const store = createWithdrawalStore(sql);
    const request = identityOf(jobSpec());
    const { requestId } = request;
    await store.note({ requestId, request });
    await store.note({ requestId, request });
    const sessionId = randomUUID();
    await store.note({ requestId: sessionId });
    const noted = await store.list(undefined, 10);
    expect(noted).toHaveLength(2);
    expect(noted).toEqual(expect.arrayContaining([{ requestId, request }, { requestId: sessionId }]));
    const [first, second] = noted;
    expect(await store.list(undefined, 1)).toEqual([first]);
    expect(await store.list(first?.requestId, 10)).toEqual([second]);
    await store.remove(requestId);
    expect(await store.list(undefined, 10)).toEqual([{ requestId: sessionId }]);
  });

  it("of unknown jobs are kept for a time that begins when Temporal first says so", async () => {
    const store = createWithdrawalStore(sql);
    const requestId = randomUUID();
    await store.note({ requestId });
    await store.markUnknown(requestId, 0); // begins
    expect(await store.list(undefined, 10)).toHaveLength(1);
    await store.markUnknown(requestId, 600_000);
    expect(await store.list(undefined, 10)).toHaveLength(1);
    await store.markUnknown(requestId, 0);
    expect(await store.list(undefined, 10)).toEqual([]);
  });
});

it("derives the id of a claimed request as PostgreSQL does", async () => {
  const store = createIdempotencyStore(sql);
  for (const key of ["key:once", "key:Ünïcode 🙂", "key:with\u0000nul"]) {
    const name = { ownerId: `ann ${randomUUID()}`, key };
    const { requestId } = await store.claim(name, { fingerprint: "f", seconds: 60 });
    const atMs = Number.parseInt(requestId.replaceAll("-", "").slice(0, 12), 16);
    expect(claimedRequestId(name, dayOf(atMs))).toBe(requestId);
  }
});
