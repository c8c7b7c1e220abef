/** A sweep continues after its orchestrator was killed: it deletes everything and counts each item once. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connectPostgres, type Sql } from "../../src/adapters/postgres/connection.ts";
import { createRetentionStore } from "../../src/adapters/postgres/operations/retention-store.ts";
import { insertExpired } from "../load/expired-records.ts";
import { type Cluster, startCluster } from "./cluster.ts";

const STUB = "tempera/stub";
const RECORDS = 20_000;

let cluster: Cluster;
let sql: Sql;
beforeAll(async () => {
  cluster = await startCluster(STUB, { TEMPERA_RETENTION_EVERY_SECONDS: "86400" });
  sql = connectPostgres(cluster.databaseUrl, { maxConnections: 2 });
});
afterAll(async () => {
  await sql.end({ timeout: 2 });
  await cluster[Symbol.asyncDispose]();
});

const left = async (): Promise<number> =>
  (
    await sql<{ left: number }[]>`SELECT count(*)::integer AS left FROM requests WHERE owner_id = 'expired'`
  )[0]?.left ?? 0;

it("continues in the same run after a kill, while jobs run", async () => {
  await insertExpired(sql, RECORDS);
  const young = (await cluster.client.submit(STUB, { prompt: "young" })).request_id;
  await cluster.client.admin("POST", "/v1/tempera/retention/run", {});
  while ((await left()) === RECORDS) await sleep(20);
  await cluster.kill("orchestrator");
  const half = await left();
  expect(half).toBeGreaterThan(0);
  expect(half).toBeLessThan(RECORDS);
  await cluster.restart("orchestrator");
  while ((await left()) > 0) await sleep(100);
  const { sweeps } = await cluster.client.admin<{ sweeps: { sweep: string; runs: { state: string }[] }[] }>(
    "GET",
    "/v1/tempera/retention",
  );
  expect(sweeps.find(({ sweep }) => sweep === "expired")?.runs).toHaveLength(1);
  const totals = await createRetentionStore(sql).totals();
  expect(totals.find(({ kind }) => kind === "request")?.items).toBe(RECORDS);
  for await (const _ of cluster.client.follow(STUB, young));
  expect(await cluster.client.result(STUB, young)).toMatchObject({ echo: "young" });
});
