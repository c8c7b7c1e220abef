import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connectPostgres, type Sql } from "../../../src/adapters/postgres/connection.ts";
import { createModelVersionStore } from "../../../src/adapters/postgres/models/model-version-store.ts";
import type { NewVersion } from "../../../src/core/models/model-version-store.ts";
import type { VersionContent } from "../../../src/core/models/published-version.ts";
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

const pushOf = (endpoint: string): { version: NewVersion; objectKey: string } => {
  const pushId = randomUUID();
  const objectKey = `weights/${pushId}/0`;
  const model = {
    endpoint,
    version: "1.0.0",
    digest: "d",
    schemas: { input: {}, output: {} },
  } as unknown as VersionContent;
  const files = [{ path: "w.onnx", sha256: "a".repeat(64), bytes: 1, objectKey }];
  return { version: { model, files, state: "enabled", pushedBy: "k", pushId }, objectKey };
};

it("does not publish a push that was abandoned, or swept by a clock that is ahead", async () => {
  const store = createModelVersionStore(sql);
  const { version, objectKey } = pushOf("acme/swept");
  const takeBacks = [() => store.abandoned(Date.now() + 60_000), () => store.abandonPush(version.pushId)];
  for (const takeBack of takeBacks) {
    await store.beginUpload(version.pushId, objectKey);
    expect(await takeBack()).toContain(objectKey);
    // Its bytes are being deleted now.
    await expect(store.publish(version, () => {})).rejects.toMatchObject({ code: "upload_interrupted" });
    // When a process dies in between, the next sweep continues.
    expect(await store.abandoned(Date.now())).toContain(objectKey);
    await store.forgetUpload(objectKey);
  }
  expect(await store.heads()).toEqual([]);
});

it("does not release weights of a publish under way", async () => {
  const store = createModelVersionStore(sql);
  const { version, objectKey } = pushOf("acme/late");
  await store.beginUpload(version.pushId, objectKey);
  let takenBack: Promise<string[]> | undefined;
  let holding = false;
  await sql.begin(async (tx) => {
    // The state of a publish whose reply is late.
    await tx`SELECT FROM model_uploads WHERE push_id = ${version.pushId} FOR UPDATE`;
    holding = true;
    takenBack = store.abandonPush(version.pushId).finally(() => expect(holding).toBe(false));
    await tx`DELETE FROM model_uploads WHERE push_id = ${version.pushId}`;
    holding = false;
  });
  expect(await takenBack).toEqual([]);
});
