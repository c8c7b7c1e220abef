import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { connectPostgres, type Sql } from "../../../src/adapters/postgres/connection.ts";
import { createCrashStore } from "../../../src/adapters/postgres/engines/crash-store.ts";
import { createEngineStatusStore } from "../../../src/adapters/postgres/engines/engine-status-store.ts";
import type { CrashStore, NewCrashRecord } from "../../../src/core/engines/crash-store.ts";
import { LIMITS } from "../../../src/core/limits.ts";
import { leakCheck } from "../../setup/leak-check.ts";
import { testDatabase } from "../../setup/test-database.ts";

leakCheck();

let database: Awaited<ReturnType<typeof testDatabase>>;
let sql: Sql;
let store: CrashStore;
beforeAll(async () => {
  database = await testDatabase();
  sql = connectPostgres(database.url, { maxConnections: 3 });
  store = createCrashStore(sql);
});
afterAll(async () => {
  await sql.end({ timeout: 2 });
  await database[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await sql`DELETE FROM engine_crashes`;
  await sql`DELETE FROM engine_amnesties`;
});

const record = (over: Partial<NewCrashRecord> = {}): NewCrashRecord => ({
  crashId: randomUUID(),
  endpoint: "t/a",
  version: "1.0.0",
  ownerId: "mallory",
  inputDigest: "bad",
  requestId: randomUUID(),
  company: "alone",
  cleared: false,
  begunMsAgo: 1000,
  ...over,
});
const age = (ms: number) =>
  sql`UPDATE engine_crashes SET crashed_at = now() - ${ms} * interval '1 millisecond'`;

describe("the crash store", () => {
  it("lists the records of all owners, with their age", async () => {
    const { begunMsAgo: _, ...kept } = record();
    await store.record([{ ...kept, begunMsAgo: 1 }]);
    await store.record([]);
    await age(60_000);
    const [listed] = await store.list();
    expect(listed).toEqual({ ...kept, ageMs: expect.any(Number) });
    expect(listed?.ageMs).toBeGreaterThanOrEqual(60_000);
  });

  it("clears one input of one owner for one model", async () => {
    const others = [
      record({ inputDigest: "other" }),
      record({ ownerId: "ann" }),
      record({ endpoint: "t/b" }),
      record({ version: "2.0.0" }),
    ];
    await store.record([record(), ...others]);
    await store.clear({ endpoint: "t/a", version: "1.0.0", ownerId: "mallory", inputDigest: "bad" });
    const cleared = (await store.list()).filter((each) => each.cleared);
    expect(cleared).toHaveLength(1);
    expect(cleared[0]).toMatchObject({ endpoint: "t/a", ownerId: "mallory", inputDigest: "bad" });
  });

  it("keeps records for an hour, and so many of an owner", async () => {
    await store.record([record({ ownerId: "old" })]);
    await age(LIMITS.crashKeptMs);
    expect(await store.list()).toEqual([]);
    await store.record([record({ ownerId: "ann" })]);
    const first = record({ inputDigest: "first" });
    await store.record([first]);
    for (let i = 0; i < LIMITS.crashRecordsOfOwnerMax; i += 8)
      await store.record(Array.from({ length: 8 }, () => record()));
    const listed = await store.list();
    expect(listed.filter(({ ownerId }) => ownerId === "mallory")).toHaveLength(LIMITS.crashRecordsOfOwnerMax);
    expect(listed.map(({ inputDigest }) => inputDigest)).not.toContain("first");
    expect(listed.filter(({ ownerId }) => ownerId === "ann")).toHaveLength(1);
    expect(await sql`SELECT FROM engine_crashes WHERE owner_id = 'old'`).toHaveLength(0);
  });

  it("forgets one input of an owner, or all that the owner did to a model version", async () => {
    const mallory = { endpoint: "t/a", version: "1.0.0", ownerId: "mallory" };
    const others = [record({ ownerId: "ann" }), record({ version: "2.0.0" }), record({ endpoint: "t/b" })];
    await store.record([record(), record(), record({ inputDigest: "other" }), ...others]);
    expect(await store.forget({ ...mallory, inputDigest: "bad" })).toBe(2);
    expect(await store.forget({ ...mallory, inputDigest: "bad" })).toBe(0);
    expect(await store.list()).toHaveLength(4);
    expect(await store.forget(mallory)).toBe(1);
    const left = new Set((await store.list()).map(({ crashId }) => crashId));
    expect(left).toEqual(new Set(others.map(({ crashId }) => crashId)));
  });

  it("announces every change", async () => {
    let notify = (): void => {};
    const stop = await store.onChange(() => notify());
    const nextChange = () =>
      new Promise<void>((resolve) => {
        notify = resolve;
      });
    let change = nextChange();
    await store.record([record()]);
    await change;
    change = nextChange();
    await store.clear({ endpoint: "t/a", version: "1.0.0", ownerId: "mallory", inputDigest: "bad" });
    await change;
    await stop();
  });

  it("forgets a model that an operator resets, and takes no record of what ran before", async () => {
    const engines = createEngineStatusStore(sql);
    const status = {
      version: "1.0.0",
      state: "ready",
      polled: true,
      running: 0,
      waiting: 0,
      failures: 0,
    } as const;
    await engines.report({ worker: "w", device: "cpu", budgetMiB: 1 }, [{ ...status, endpoint: "t/a" }]);
    await store.record([record(), record({ endpoint: "t/b" })]);
    await engines.requestReset({ endpoint: "t/a" });
    expect((await store.list()).map(({ endpoint }) => endpoint)).toEqual(["t/b"]);

    await store.record([
      record({ begunMsAgo: 3_600_000 }),
      record({ endpoint: "t/b", begunMsAgo: 3_600_000 }),
    ]);
    expect((await store.list()).map(({ endpoint }) => endpoint)).toEqual(["t/b", "t/b"]);
    await store.record([record({ begunMsAgo: 0 })]);
    expect((await store.list()).map(({ endpoint }) => endpoint).sort()).toEqual(["t/a", "t/b", "t/b"]);
    await sql`DELETE FROM engines`;
  });
});
