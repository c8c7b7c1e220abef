import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectPostgres, type Sql } from "../../../src/adapters/postgres/connection.ts";
import { createAuditLog } from "../../../src/adapters/postgres/operations/audit-log.ts";
import type { AuditLog } from "../../../src/core/operations/audit-log.ts";
import { newRequestId } from "../../../src/core/requests/request-id.ts";
import { leakCheck } from "../../setup/leak-check.ts";
import { testDatabase } from "../../setup/test-database.ts";

leakCheck();

let database: Awaited<ReturnType<typeof testDatabase>>;
let sql: Sql;
let audit: AuditLog;
beforeAll(async () => {
  database = await testDatabase();
  sql = connectPostgres(database.url, { maxConnections: 2 });
  audit = createAuditLog(sql);
});
afterAll(async () => {
  await sql.end({ timeout: 2 });
  await database[Symbol.asyncDispose]();
});

const record = (over: Partial<Parameters<AuditLog["begin"]>[0]> = {}) => ({
  auditId: newRequestId(),
  atMs: 1_700_000_000_000,
  keyId: "key",
  ownerId: "owner",
  action: "keys.create",
  subject: "subject",
  requestId: newRequestId(),
  ...over,
});

describe("the audit log", () => {
  it("records the values before and after byte for byte, and the result", async () => {
    const subject = "letters";
    const made = record({ subject, before: { b: 1, a: "\u0000é", n: null } });
    await audit.begin(made);
    expect(await audit.list({ limit: 9, subject })).toEqual([{ ...made, state: "begun" }]);
    await audit.settle(made.auditId, { after: [1, "x"] });
    expect(await audit.list({ limit: 9, subject })).toEqual([{ ...made, state: "made", after: [1, "x"] }]);
    const failed = record({ subject: "fails", action: "queue.flush" });
    await audit.begin(failed);
    await audit.settle(failed.auditId, { errorCode: "temporal_unavailable" });
    expect(await audit.list({ limit: 9, subject: "fails" })).toEqual([
      { ...failed, state: "failed", errorCode: "temporal_unavailable" },
    ]);
  });

  it("accepts a subject that is known only at the end", async () => {
    const begun = record({ subject: "signing-keys" });
    await audit.begin(begun);
    await audit.settle(begun.auditId, { subject: "the-new-one" });
    expect(await audit.list({ limit: 9, subject: "the-new-one" })).toMatchObject([
      { auditId: begun.auditId, state: "made" },
    ]);
  });

  it("lists newest first in pages, each record once, also records of the same moment", async () => {
    const ownerId = "pager";
    const all = Array.from({ length: 7 }, (_, i) =>
      record({ ownerId, atMs: 1_700_000_000_000 + Math.floor(i / 3) }),
    );
    for (const each of all) await audit.begin(each);
    const seen: string[] = [];
    let before: { atMs: number; id: string } | undefined;
    for (;;) {
      const page = await audit.list({ limit: 2, ownerId, ...(before && { before }) });
      seen.push(...page.map(({ auditId }) => auditId));
      const last = page.at(-1);
      if (!last) break;
      before = { atMs: last.atMs, id: last.auditId };
    }
    const order = all
      .sort((a, b) => b.atMs - a.atMs || (a.auditId < b.auditId ? 1 : -1))
      .map(({ auditId }) => auditId);
    expect(seen).toEqual(order);
  });

  it("filters by action and its prefix, key, owner and time", async () => {
    const keyId = "filters";
    const a = record({ keyId, action: "keys.create", atMs: 10 });
    const b = record({ keyId, action: "keys.revoke", atMs: 20 });
    const c = record({ keyId, action: "keysmith.forge", atMs: 30 });
    for (const each of [a, b, c]) await audit.begin(each);
    const ids = async (query: object) =>
      (await audit.list({ limit: 9, keyId, ...query })).map(({ auditId }) => auditId);
    expect(await ids({ action: "keys" })).toEqual([b.auditId, a.auditId]);
    expect(await ids({ action: "keys.create" })).toEqual([a.auditId]);
    expect(await ids({ action: "keys_" })).toEqual([]);
    expect(await ids({ startMs: 20, endMs: 30 })).toEqual([b.auditId]);
    expect(await ids({ ownerId: "nobody", subject: "it's; --" })).toEqual([]);
  });
});
