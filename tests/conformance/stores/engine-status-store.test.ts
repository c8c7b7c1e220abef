import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { connectPostgres, type Sql } from "../../../src/adapters/postgres/connection.ts";
import { createEngineStatusStore } from "../../../src/adapters/postgres/engines/engine-status-store.ts";
import type { EngineStatus } from "../../../src/core/engines/engine-status.ts";
import type { EngineStatusStore } from "../../../src/core/engines/engine-status-store.ts";
import { LIMITS } from "../../../src/core/limits.ts";
import { leakCheck } from "../../setup/leak-check.ts";
import { testDatabase } from "../../setup/test-database.ts";

leakCheck();

let database: Awaited<ReturnType<typeof testDatabase>>;
let sql: Sql;
let board: EngineStatusStore;
beforeAll(async () => {
  database = await testDatabase();
  sql = connectPostgres(database.url, { maxConnections: 3 });
  board = createEngineStatusStore(sql);
});
afterAll(async () => {
  await sql.end({ timeout: 2 });
  await database[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await sql`DELETE FROM engines`;
  await sql`DELETE FROM engine_resets`;
  await sql`DELETE FROM engine_drains`;
});

const worker = (name: string) => ({ worker: name, device: "cuda:0", budgetMiB: 40_000 });
const engine = (endpoint: string, over: Partial<EngineStatus> = {}): EngineStatus => ({
  endpoint,
  version: "1.0.0",
  state: "stopped",
  polled: true,
  running: 0,
  waiting: 0,
  failures: 0,
  ...over,
});
const age = (name: string, ms: number) =>
  sql`UPDATE engines SET reported_at = now() - ${ms} * interval '1 millisecond' WHERE worker = ${name}`;

describe("the engine status store", () => {
  it("lists the last report of each worker, by endpoint and worker", async () => {
    await board.report(worker("two"), [engine("t/b"), engine("t/a")]);
    await board.report(worker("one"), [engine("t/a", { state: "loading" }), engine("t/gone")]);
    const full = engine("t/a", {
      state: "unhealthy",
      polled: false,
      pid: 7,
      memoryMiB: 123,
      running: 1,
      waiting: 2,
      failures: 3,
      lastFailure: "died\u0000 of a NUL",
    });
    await board.report(worker("one"), [full]);
    const listed = await board.list();
    expect(listed.map(({ endpoint, worker: name }) => `${endpoint} ${name}`)).toEqual([
      "t/a one",
      "t/a two",
      "t/b two",
    ]);
    expect(listed[0]).toEqual({
      ...full,
      ...worker("one"),
      lastFailure: "died\ufffd of a NUL",
      drained: false,
      ageMs: expect.any(Number),
    });
    expect(listed[1]).toEqual({
      ...engine("t/a"),
      ...worker("two"),
      drained: false,
      ageMs: expect.any(Number),
    });
    await board.remove("one");
    expect((await board.list()).map(({ worker: name }) => name)).toEqual(["two", "two"]);
  });

  it("lists a dead worker with its age for a while, and deletes it when another reports", async () => {
    await board.report(worker("dead"), [engine("t/a")]);
    await age("dead", 60_000);
    expect((await board.list())[0]?.ageMs).toBeGreaterThanOrEqual(60_000);
    await age("dead", LIMITS.engineReportKeptMs + 1000);
    expect(await board.list()).toEqual([]);
    await board.report(worker("alive"), [engine("t/a")]);
    expect(await sql`SELECT worker FROM engines`).toEqual([{ worker: "alive" }]);
  });

  it("delivers a reset once to each named worker that is alive, and notifies it at once", async () => {
    await board.report(worker("one"), [engine("t/a"), engine("t/a", { version: "2.0.0" }), engine("t/b")]);
    await board.report(worker("two"), [engine("t/a")]);
    await board.report(worker("dead"), [engine("t/a")]);
    await age("dead", LIMITS.engineReportSilenceMs + 1000);
    let notify = () => {};
    const notified = new Promise<void>((resolve) => {
      notify = resolve;
    });
    const stop = await board.onReset("one", notify);

    expect(await board.requestReset({ endpoint: "t/a" })).toEqual([
      { worker: "one", version: "1.0.0" },
      { worker: "one", version: "2.0.0" },
      { worker: "two", version: "1.0.0" },
    ]);
    await notified;
    expect(await board.requestReset({ endpoint: "t/a", version: "2.0.0" })).toEqual([
      { worker: "one", version: "2.0.0" },
    ]);
    expect(await board.requestReset({ endpoint: "t/a", worker: "dead" })).toEqual([]);
    expect(await board.requestReset({ endpoint: "t/none" })).toEqual([]);

    const taken = await board.takeResets("one");
    expect(taken.sort((a, b) => (a.version < b.version ? -1 : 1))).toEqual([
      { endpoint: "t/a", version: "1.0.0" },
      { endpoint: "t/a", version: "2.0.0" },
    ]);
    expect(await board.takeResets("one")).toEqual([]);
    expect(await board.takeResets("two")).toEqual([{ endpoint: "t/a", version: "1.0.0" }]);
    await stop();
  });

  it("drains the named workers that are alive, at once and until it is taken back", async () => {
    await board.report(worker("one"), [engine("t/a"), engine("t/b")]);
    await board.report(worker("two"), [engine("t/a")]);
    let notify = () => {};
    const next = (): Promise<void> =>
      new Promise((resolve) => {
        notify = resolve;
      });
    const stop = await board.onReset("one", () => notify());
    const notified = next();
    expect(await board.drain({ endpoint: "t/a" }, true)).toEqual([
      { worker: "one", version: "1.0.0" },
      { worker: "two", version: "1.0.0" },
    ]);
    await notified;
    expect(await board.drain({ endpoint: "t/none" }, true)).toEqual([]);
    expect(await board.drained("one")).toEqual({
      all: false,
      models: [{ endpoint: "t/a", version: "1.0.0" }],
    });
    await board.remove("one");
    await board.report(worker("one"), [engine("t/a"), engine("t/b")]);
    const drained = async () =>
      (await board.list()).filter((each) => each.drained).map((each) => `${each.endpoint} ${each.worker}`);
    expect(await drained()).toEqual(["t/a one", "t/a two"]);

    expect(await board.drainWorker("one", true)).toBe(true);
    expect(await board.drainWorker("one", true)).toBe(true);
    expect(await board.drainWorker("nobody", true)).toBe(false);
    expect((await board.drained("one")).all).toBe(true);
    expect(await drained()).toEqual(["t/a one", "t/a two", "t/b one"]);
    const again = next();
    expect(await board.drainWorker("one", false)).toBe(true);
    await again;
    expect(await board.drained("one")).toEqual({ all: false, models: [] });
    expect(await board.drain({ endpoint: "t/a", worker: "two" }, false)).toEqual([
      { worker: "two", version: "1.0.0" },
    ]);
    expect(await drained()).toEqual([]);
    await stop();
  });

  it("rejects with store_unavailable while the server is away", async () => {
    const nowhere = connectPostgres("postgres://nobody@127.0.0.1:9/none", { maxConnections: 1 });
    const lost = createEngineStatusStore(nowhere);
    await expect(lost.report(worker("one"), [engine("t/a")])).rejects.toMatchObject({
      code: "store_unavailable",
    });
    await expect(lost.list()).rejects.toMatchObject({ code: "store_unavailable" });
    await nowhere.end({ timeout: 1 });
  });
});
