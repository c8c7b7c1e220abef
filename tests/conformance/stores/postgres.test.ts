import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { answer, connectPostgres, type Sql } from "../../../src/adapters/postgres/connection.ts";
import { migrate } from "../../../src/adapters/postgres/migrate.ts";
import { createKeyStore } from "../../../src/adapters/postgres/owners/key-store.ts";
import { createRequestStore } from "../../../src/adapters/postgres/requests/request-store.ts";
import type { Key } from "../../../src/core/owners/key.ts";
import type { KeyStore } from "../../../src/core/owners/key-store.ts";
import type { JobSpec } from "../../../src/core/requests/job.ts";
import type { Outcome } from "../../../src/core/requests/request.ts";
import { newRequestId } from "../../../src/core/requests/request-id.ts";
import type { FinishedJob, RequestStore } from "../../../src/core/requests/request-store.ts";
import { startPostgres } from "../../../src/dev/services/postgres.ts";
import { leakCheck } from "../../setup/leak-check.ts";
import { testDatabase } from "../../setup/test-database.ts";
import { jobSpec } from "./job-spec.ts";

leakCheck();

let database: Awaited<ReturnType<typeof testDatabase>>;
let sql: Sql;
let requests: RequestStore;
let keys: KeyStore;
beforeAll(async () => {
  database = await testDatabase();
  sql = connectPostgres(database.url, { maxConnections: 5 });
  requests = createRequestStore(sql);
  keys = createKeyStore(sql);
});
afterAll(async () => {
  await sql.end({ timeout: 2 });
  await database[Symbol.asyncDispose]();
});

const job = (over: Partial<JobSpec> = {}): JobSpec =>
  jobSpec({
    endpoint: "fal-ai/qwen-image",
    taskQueue: "gpu/fal-ai/qwen-image/1.0.0",
    input: { inline: { prompt: "x" } },
    ...over,
  });
const ok = (output: object): Outcome => ({
  ok: true,
  output: { inline: output as Record<string, never> },
  metrics: { inference_time: 0.5 },
});
const ended = (of: JobSpec, outcome: Outcome, over: Partial<FinishedJob> = {}): FinishedJob => ({
  job: of,
  outcome,
  attempts: 1,
  startedAtMs: 1_790_000_000_200,
  endedAtMs: 1_790_000_000_900,
  logs: [],
  ...over,
});

describe("request store", () => {
  it("records a submitted request, then its end", async () => {
    const spec = job({ priority: "low" });
    await requests.insert(spec);
    await requests.insert(spec);
    expect(await requests.find(spec.requestId)).toEqual({
      requestId: spec.requestId,
      ownerId: "owner",
      keyId: spec.keyId,
      endpoint: spec.endpoint,
      version: "1.0.0",
      taskQueue: spec.taskQueue,
      priority: "low",
      submittedAtMs: spec.submittedAtMs,
      attempts: 0,
      logs: [],
    });
    const logs = [
      { id: "1-0", atMs: 5, event: { type: "log", attempt: 1, level: "INFO", message: "hello" } as const },
    ];
    expect(await requests.finish(ended(spec, ok({ a: 1 }), { attempts: 3, logs }))).toEqual(ok({ a: 1 }));
    expect(await requests.find(spec.requestId)).toMatchObject({
      outcome: ok({ a: 1 }),
      attempts: 3,
      logs,
      startedAtMs: 1_790_000_000_200,
      endedAtMs: 1_790_000_000_900,
    });
  });

  it("creates the row at the end of a request without a submit; a late submit changes nothing", async () => {
    const spec = job();
    await requests.finish(ended(spec, ok({ b: 2 })));
    await requests.insert(spec);
    expect(await requests.find(spec.requestId)).toMatchObject({
      outcome: ok({ b: 2 }),
      submittedAtMs: spec.submittedAtMs,
    });
  });

  it("names the objects of the job that ran, whichever call with its key was submitted", async () => {
    const ran = jobSpec({ input: { ref: "inputs/a.json" } });
    await requests.insert({ ...ran, input: { ref: "inputs/b.json" } });
    await requests.finish(ended(ran, ok({ a: 1 })));
    const [row] = await sql`SELECT job, refs FROM requests WHERE request_id = ${ran.requestId}`;
    expect(row).toMatchObject({ job: { input: ran.input }, refs: ["inputs/a.json"] });
  });

  it("finds the nodes of a pipeline, oldest first, ended or not", async () => {
    const pipeline = job();
    const node = (id: string, submittedAtMs: number): JobSpec =>
      job({ node: { pipelineId: pipeline.requestId, id }, submittedAtMs });
    const [first, second] = [node("größe-1", 1_790_000_000_001), node("b", 1_790_000_000_002)];
    await requests.insert(second);
    await requests.finish(ended(first, ok({ a: 1 })));
    await requests.insert(job({ node: { pipelineId: newRequestId(), id: "b" } }));
    const found = await requests.nodes(pipeline.requestId);
    expect(found.map(({ requestId, node: ref, outcome }) => [requestId, ref, outcome?.ok])).toEqual([
      [first.requestId, { pipelineId: pipeline.requestId, id: "größe-1" }, true],
      [second.requestId, { pipelineId: pipeline.requestId, id: "b" }, undefined],
    ]);
    expect(await requests.nodes("no-id")).toEqual([]);
  });

  it("keeps the outcome of the first writer, also of many concurrent ones", async () => {
    const spec = job();
    await requests.insert(spec);
    const won = await Promise.all(
      Array.from({ length: 10 }, (_, i) => requests.finish(ended(spec, ok({ i })))),
    );
    expect(new Set(won.map((outcome) => JSON.stringify(outcome))).size).toBe(1);
    expect((await requests.find(spec.requestId))?.outcome).toEqual(won[0]);
  });

  it("returns JSON byte for byte: NULs, surrogates, any script, key order, 32 KiB", async () => {
    const output = {
      z: "\u0000é😀\u202e",
      a: "\ud800",
      nested: { list: [1e21, -0.1, null, true], "": "" },
      big: "x".repeat(32_000),
    };
    const spec = job({ input: { inline: output } });
    await requests.insert(spec);
    await requests.finish(ended(spec, ok(output)));
    const found = (await requests.find(spec.requestId))?.outcome;
    expect(JSON.stringify(found)).toBe(JSON.stringify(ok(output)));
  });

  it("writes a dead letter with its end, once", async () => {
    const spec = job();
    const failed: Outcome = {
      ok: false,
      error: { code: "runner_disconnected", message: "gone" },
      metrics: {},
    };
    await requests.finish(
      ended(spec, failed, { attempts: 5, deadLetter: { reason: "runner_disconnected: gone\u0000" } }),
    );
    await requests.finish(ended(spec, failed, { attempts: 5, deadLetter: { reason: "again" } }));
    const letters = (await requests.deadLetters(100)).filter(({ requestId }) => requestId === spec.requestId);
    expect(letters).toEqual([
      {
        requestId: spec.requestId,
        ownerId: "owner",
        endpoint: spec.endpoint,
        version: "1.0.0",
        reason: "runner_disconnected: gone\ufffd",
        attempts: 5,
        createdAtMs: 1_790_000_000_900,
      },
    ]);
  });

  it("lists dead letters newest first, up to the limit", async () => {
    const failed: Outcome = { ok: false, error: { code: "request_timeout", message: "" }, metrics: {} };
    const made = [job(), job(), job()];
    for (const [n, spec] of made.entries()) {
      await requests.finish(
        ended(spec, failed, { endedAtMs: 1_800_000_000_000 + n, deadLetter: { reason: `${n}` } }),
      );
    }
    expect((await requests.deadLetters(2)).map(({ reason }) => reason)).toEqual(["2", "1"]);
  });

  it("writes the dead letter of the winning rival only, and only when it has one", async () => {
    const failed: Outcome = { ok: false, error: { code: "request_timeout", message: "" }, metrics: {} };
    for (let round = 0; round < 10; round++) {
      const spec = job();
      const [first, second] = await Promise.all([
        requests.finish(ended(spec, ok({ round }))),
        requests.finish(ended(spec, failed, { deadLetter: { reason: "late" } })),
      ]);
      expect(first).toEqual(second);
      const letters = (await requests.deadLetters(1_000)).filter(
        ({ requestId }) => requestId === spec.requestId,
      );
      expect(letters).toHaveLength(first.ok ? 0 : 1);
    }
  });

  it("finds no unknown request, and none for an invalid request id", async () => {
    for (const id of [newRequestId(), "", "x", "\u0000", "../..", `${newRequestId()}/webhook`]) {
      expect(await requests.find(id)).toBeUndefined();
    }
  });
});

describe("key store", () => {
  const key = (over: Partial<Key> = {}): Key => ({
    keyId: randomUUID(),
    ownerId: "me",
    alias: "a",
    scope: "API",
    secretSha256: "ab".repeat(32),
    createdAtMs: 1_790_000_000_001,
    ...over,
  });

  it("inserts, finds, lists newest first, revokes once", async () => {
    const older = key({ createdAtMs: 1_790_000_000_000 });
    const newer = key({ scope: "ADMIN", createdAtMs: 1_790_000_009_000 });
    await keys.insert(older);
    await keys.insert(newer);
    expect(await keys.find(older.keyId)).toEqual(older);
    expect((await keys.list({ limit: 100 })).map(({ keyId }) => keyId)).toEqual([newer.keyId, older.keyId]);
    const [first] = await keys.list({ limit: 1 });
    expect(
      await keys.list({ limit: 9, before: { atMs: first?.createdAtMs ?? 0, id: first?.keyId ?? "" } }),
    ).toEqual([older]);
    expect(await keys.revoke(older.keyId, 1_790_000_010_000)).toBe(true);
    expect(await keys.revoke(older.keyId, 1_790_000_020_000)).toBe(false);
    expect(await keys.revoke(randomUUID(), 1)).toBe(false);
    expect(await keys.find(older.keyId)).toEqual({ ...older, revokedAtMs: 1_790_000_010_000 });
    expect(await keys.find(randomUUID())).toBeUndefined();
  });

  it("accepts any text as a name, and as an unknown id", async () => {
    const odd = key({ ownerId: "é😀\u0000\u202e", alias: "'; DROP TABLE keys; --\u0000" });
    await keys.insert(odd);
    expect(await keys.find(odd.keyId)).toEqual({
      ...odd,
      ownerId: "é😀\ufffd\u202e",
      alias: "'; DROP TABLE keys; --\ufffd",
    });
    for (const id of ["", "x", "\u0000", "x".repeat(100_000)]) {
      expect(await keys.find(id)).toBeUndefined();
      expect(await keys.revoke(id, 1)).toBe(false);
    }
  });

  it("computes by its own clock how long a key still opens", async () => {
    const soon = key({ expiresAtMs: Date.now() + 60_000 });
    const over = key({ expiresAtMs: Date.now() - 60_000 });
    await keys.insert(soon);
    await keys.insert(over);
    const found = await keys.findAll([soon.keyId, over.keyId, randomUUID(), "'\u0000"]);
    const left = new Map(found.map(({ keyId, expiresInMs }) => [keyId, expiresInMs ?? Number.NaN]));
    expect(left.size).toBe(2);
    expect(Math.abs((left.get(soon.keyId) ?? 0) - 60_000)).toBeLessThan(5_000);
    expect(Math.abs((left.get(over.keyId) ?? 0) + 60_000)).toBeLessThan(5_000);
    expect(await keys.find(soon.keyId)).toMatchObject({ expiresAtMs: soon.expiresAtMs });
    expect(await keys.findAll([])).toEqual([]);
  });

  it("replaces a digest only when it is still the one that was read", async () => {
    const plain = key();
    await keys.insert(plain);
    const peppered = { secretSha256: "cd".repeat(32), pepperId: "0badcafe" };
    await keys.rehash(plain.keyId, plain, peppered);
    await keys.rehash(plain.keyId, plain, { secretSha256: "ef".repeat(32) });
    expect(await keys.find(plain.keyId)).toEqual({ ...plain, ...peppered });
  });

  it("records uses of many keys at once, never backwards, without a notification", async () => {
    const used = [key(), key()];
    for (const each of used) await keys.insert(each);
    const changed: string[] = [];
    const stop = await keys.onChange((keyId) => changed.push(keyId));
    const ids = used.map(({ keyId }) => keyId);
    await keys.recordUses([
      ...ids.map((keyId) => ({ keyId, agoMs: 1_000 })),
      { keyId: randomUUID(), agoMs: 0 },
    ]);
    await keys.recordUses(ids.map((keyId) => ({ keyId, agoMs: 3_600_000.5 })));
    await keys.recordUses([]);
    await Promise.all(
      Array.from({ length: 10 }, (_, n) =>
        keys.recordUses((n % 2 ? ids : ids.toReversed()).map((keyId) => ({ keyId, agoMs: 500 }))),
      ),
    );
    for (const keyId of ids)
      expect(Math.abs(((await keys.find(keyId))?.lastUsedAtMs ?? 0) - Date.now())).toBeLessThan(5_000);
    const marker = key();
    await keys.insert(marker);
    await expect.poll(() => changed, { interval: 10 }).toEqual([marker.keyId]);
    await stop();
  });

  it("notifies listeners at once of the key that changed", async () => {
    const changed: string[] = [];
    const stop = await keys.onChange((keyId) => changed.push(keyId));
    const fresh = key();
    await keys.insert(fresh);
    await keys.revoke(fresh.keyId, 1_790_000_010_000);
    await expect.poll(() => changed, { interval: 10 }).toEqual([fresh.keyId, fresh.keyId]);
    await stop();
    await keys.insert(key());
    await keys.insert(key());
    expect(changed).toHaveLength(2);
  });
});

describe("when PostgreSQL is away", () => {
  it("fails calls, killed or frozen, and later works with its listeners", async () => {
    const folder = await mkdtemp(join(tmpdir(), "tempera-postgres-"));
    // A superuser, for the checkpoint.
    const server = await startPostgres({ folder, fast: true, attribute: "SUPERUSER", log: () => {} });
    await migrate(server.url);
    const pool = connectPostgres(server.url, { maxConnections: 3 });
    const outage = createKeyStore(pool);
    const changed: string[] = [];
    await outage.onChange((keyId) => changed.push(keyId));
    // The fast test server flushes nothing: what was written so far must survive the kill.
    await pool`CHECKPOINT`;
    server.kill();
    await server.ended;
    for (let round = 0; round < 3; round++) {
      const calls = await Promise.allSettled(Array.from({ length: 12 }, () => outage.find(randomUUID())));
      for (const call of calls) expect(call).toMatchObject({ reason: { code: "store_unavailable" } });
    }

    const again = await startPostgres({ folder, port: server.port, fast: true, log: () => {} });
    const key = {
      keyId: randomUUID(),
      ownerId: "o",
      alias: "a",
      scope: "API",
      secretSha256: "x",
      createdAtMs: 1,
    } as const;
    await expect.poll(() => outage.list({ limit: 9 }).catch(() => undefined)).toEqual([]);
    await outage.insert(key);
    // The change is repeated until the listening connection is back too.
    await expect
      .poll(() => pool`UPDATE keys SET alias = alias`.then(() => changed.includes(key.keyId)), {
        interval: 50,
      })
      .toBe(true);

    const one = connectPostgres(server.url, { maxConnections: 1 });
    const [{ pid } = { pid: 0 }] = await one<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`;
    process.kill(pid, "SIGSTOP");
    await expect(createKeyStore(one).list({ limit: 9 })).rejects.toMatchObject({ code: "store_unavailable" });
    process.kill(pid, "SIGCONT");
    expect(await createKeyStore(one).list({ limit: 9 })).toHaveLength(1);

    await Promise.all([one.end({ timeout: 2 }), pool.end({ timeout: 2 })]);
    await again.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it("rejects writes with store_full while it accepts only reads, has no space or no memory", async () => {
    const readOnly = connectPostgres(database.url, { maxConnections: 1 });
    await readOnly`SET default_transaction_read_only = on`;
    const key = { keyId: randomUUID(), ownerId: "o", alias: "a", scope: "API", secretSha256: "x" } as const;
    await expect(createKeyStore(readOnly).insert({ ...key, createdAtMs: 1 })).rejects.toMatchObject({
      code: "store_full",
      store: "PostgreSQL",
      message: expect.stringMatching(/^PostgreSQL accepts only reads \(25006\).*DATABASE_URL/),
    });
    await readOnly.end();
    for (const [state, text] of [
      ["53100", "PostgreSQL has no space left (53100)"],
      ["53200", "PostgreSQL has no memory left (53200)"],
    ] as const) {
      const raised = sql.unsafe(`DO $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '${state}'; END $$`);
      await expect(answer(sql, raised)).rejects.toMatchObject({
        code: "store_full",
        message: expect.stringContaining(text),
      });
    }
  });

  it("rejects every call, and names the address, never the password", async () => {
    const nowhere = connectPostgres("postgres://me:hidden@127.0.0.1:9/x", { maxConnections: 1 });
    for (const call of [
      createRequestStore(nowhere).find(newRequestId()),
      createKeyStore(nowhere).list({ limit: 9 }),
    ]) {
      const error = await call.catch((thrown) => thrown);
      expect(error).toMatchObject({
        code: "store_unavailable",
        message: expect.stringContaining("127.0.0.1:9"),
      });
      expect(error.message).not.toContain("hidden");
    }
    await nowhere.end({ timeout: 0 });
    const error = await migrate("postgres://me:hidden@127.0.0.1:9/x").catch((thrown) => thrown);
    expect(error).toMatchObject({
      code: "store_unavailable",
      message: expect.stringMatching(/127\.0\.0\.1:9\/x.*DATABASE_URL/),
    });
    expect(error.message).not.toContain("hidden");
  });

  it("migrates twice at once without an error", async () => {
    const fresh = `fresh_${randomUUID().replaceAll("-", "")}`;
    await sql.unsafe(`CREATE DATABASE ${fresh}`);
    const url = new URL(database.url);
    url.pathname = `/${fresh}`;
    await Promise.all([migrate(url.href), migrate(url.href), migrate(url.href)]);
    const made = connectPostgres(url.href, { maxConnections: 1 });
    expect(await createKeyStore(made).list({ limit: 9 })).toEqual([]);
    await made.end({ timeout: 1 });
    await sql.unsafe(`DROP DATABASE ${fresh} WITH (FORCE)`);
  });
});
