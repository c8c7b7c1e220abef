import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connectPostgres, type Sql } from "../../../src/adapters/postgres/connection.ts";
import { createOwnerLoad } from "../../../src/adapters/postgres/owner-load.ts";
import { createRequestStore } from "../../../src/adapters/postgres/request-store.ts";
import type { JobSpec } from "../../../src/core/job.ts";
import { newRequestId } from "../../../src/core/request-id.ts";
import { leakCheck } from "../../setup/leak-check.ts";
import { testDatabase } from "../../setup/test-database.ts";

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

const job = (over: Partial<JobSpec> = {}): JobSpec => ({
  requestId: newRequestId(),
  ownerId: "ann",
  keyId: randomUUID(),
  endpoint: "load/a",
  version: "1.0.0",
  taskQueue: "gpu/load/a/1.0.0",
  priority: "normal",
  modelDigest: "d",
  input: { inline: {} },
  submittedAtMs: 1_700_000_000_000,
  retry: { attemptsMax: 1, initialMs: 1, backoff: 1, maximumMs: 1 },
  timeouts: { heartbeatMs: 1, runMs: 1 },
  ...over,
});

it("counts a pipeline as one request, whatever its nodes do", async () => {
  const requests = createRequestStore(sql);
  const pipeline = job();
  for (const each of [pipeline, ...["a", "b", "c"].map((id) => job({ node: { pipelineId: pipeline.requestId, id } }))])
    await requests.insert(each);
  await requests.insert(job());
  await requests.insert(job({ ownerId: "bob" }));
  expect(await createOwnerLoad(sql).unfinished("ann", 100)).toBe(2);
});
