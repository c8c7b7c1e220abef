import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connectPostgres, type Sql } from "../../../src/adapters/postgres/connection.ts";
import { createKeyStore } from "../../../src/adapters/postgres/owners/key-store.ts";
import { createOwnerDirectory } from "../../../src/adapters/postgres/owners/owner-directory.ts";
import { createOwnerLoad } from "../../../src/adapters/postgres/owners/owner-load.ts";
import { createRequestStore } from "../../../src/adapters/postgres/requests/request-store.ts";
import type { JobSpec } from "../../../src/core/requests/job.ts";
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

const job = (over: Partial<JobSpec> = {}): JobSpec =>
  jobSpec({
    ownerId: "ann",
    endpoint: "load/a",
    taskQueue: "gpu/load/a/1.0.0",
    submittedAtMs: 1_700_000_000_000,
    retry: { attemptsMax: 1, initialMs: 1, backoff: 1, maximumMs: 1 },
    timeouts: { heartbeatMs: 1, runMs: 1 },
    ...over,
  });

it("counts a pipeline as one request, whatever its nodes do", async () => {
  const requests = createRequestStore(sql);
  const pipeline = job();
  for (const each of [
    pipeline,
    ...["a", "b", "c"].map((id) => job({ node: { pipelineId: pipeline.requestId, id } })),
  ])
    await requests.insert(each);
  await requests.insert(job());
  await requests.insert(job({ ownerId: "bob" }));
  expect(await createOwnerLoad(sql).unfinished("ann", 100)).toBe(2);
});

it("counts a key as active as long as it opens", async () => {
  const keys = createKeyStore(sql);
  const nowMs = Date.now();
  const insert = (expiresAtMs?: number): Promise<void> =>
    keys.insert({
      keyId: randomUUID(),
      ownerId: "carol",
      alias: "a",
      scope: "API",
      secretSha256: "00",
      createdAtMs: nowMs - 10_000,
      ...(expiresAtMs !== undefined && { expiresAtMs }),
    });
  for (const expiresAtMs of [undefined, nowMs + 3_600_000, nowMs - 5_000]) await insert(expiresAtMs);
  expect(await createOwnerDirectory(sql).find("carol")).toMatchObject({ keys: 3, keysActive: 2 });
});
