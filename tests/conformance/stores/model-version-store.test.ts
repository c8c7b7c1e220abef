import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connectPostgres, type Sql } from "../../../src/adapters/postgres/connection.ts";
import { createModelVersionStore } from "../../../src/adapters/postgres/model-version-store.ts";
import type { NewVersion } from "../../../src/core/ports/model-version-store.ts";
import type { VersionContent } from "../../../src/core/published-version.ts";
import { leakCheck } from "../../setup/leak-check.ts";
import { testDatabase } from "../../setup/test-database.ts";

leakCheck();

let database: Awaited<ReturnType<typeof testDatabase>>;
let sql: Sql;
beforeAll(async () => {
  database = await testDatabase();
  sql = connectPostgres(database.url, { maxConnections: 2 });
});
afterAll(async () => {
  await sql.end({ timeout: 2 });
  await database[Symbol.asyncDispose]();
});

it("a push whose weights were swept meanwhile is not published with nothing behind it", async () => {
  const store = createModelVersionStore(sql);
  const pushId = randomUUID();
  const objectKey = `weights/${pushId}/0`;
  const model = { endpoint: "acme/swept", version: "1.0.0", digest: "d", schemas: { input: {}, output: {} } } as unknown as VersionContent;
  const files = [{ path: "w.onnx", sha256: "a".repeat(64), bytes: 1, objectKey }];
  const version: NewVersion = { model, files, state: "enabled", pushedBy: "k", pushId };
  await store.beginUpload(pushId, objectKey);
  expect(await store.abandoned(Date.now() + 60_000)).toContain(objectKey);
  await store.forgetUpload(objectKey);
  await expect(store.publish(version, () => {})).rejects.toMatchObject({ code: "upload_interrupted" });
  expect(await store.heads()).toEqual([]);
  await store.beginUpload(pushId, objectKey);
  expect(await store.publish(version, () => {})).toMatchObject({ done: "published" });
  expect((await store.content("acme/swept", "1.0.0"))?.files).toEqual(files);
  expect(await store.leftOver(pushId)).toEqual([]);
});
