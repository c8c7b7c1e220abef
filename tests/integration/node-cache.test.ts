/** Reuse of node results with the real store: making a result, waiting for one, and making one again. */
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  type CacheLookup,
  createNodeCache,
  type NodeCache,
  type ResultClaim,
} from "../../src/activities/pipelines/node-cache.ts";
import { createFileObjectStore } from "../../src/adapters/object-store/file-object-store.ts";
import { connectPostgres, type Sql } from "../../src/adapters/postgres/connection.ts";
import { createNodeResultStore } from "../../src/adapters/postgres/pipelines/node-result-store.ts";
import { TemperaError } from "../../src/core/errors/tempera-error.ts";
import type { ObjectStore } from "../../src/core/files/object-store.ts";
import type { JsonObject } from "../../src/core/json/json.ts";
import type { NodeResultStore } from "../../src/core/pipelines/node-result-store.ts";
import type { JobSpec } from "../../src/core/requests/job.ts";
import { leakCheck } from "../setup/leak-check.ts";
import { testDatabase } from "../setup/test-database.ts";

leakCheck();

const LEASE_MS = 300;
const DAY_MS = 24 * 3600 * 1000;
const never = new AbortController().signal;

let database: Awaited<ReturnType<typeof testDatabase>>;
let folder: string;
let objects: ObjectStore;
let sql: Sql;
let results: NodeResultStore;
let cache: NodeCache;
let nowMs: number;
const warned: string[] = [];
const parts = () => ({
  results,
  objects,
  resolveFileUrl: async (url: string) =>
    url.startsWith("http://localhost/files/") ? url.slice("http://localhost/files/".length) : undefined,
  findModel: () => ({ engine: "stub", runner: "stub" }),
  clock: { nowMs: () => nowMs },
  keepMs: DAY_MS,
  warn: (message: string) => void warned.push(message),
  leaseMs: LEASE_MS,
});
beforeAll(async () => {
  database = await testDatabase();
  folder = await mkdtemp(join(tmpdir(), "tempera-test-"));
  objects = createFileObjectStore({ folder });
  sql = connectPostgres(database.url, { maxConnections: 4 });
  results = createNodeResultStore(sql);
  cache = await createNodeCache(parts());
});
afterAll(async () => {
  await cache[Symbol.asyncDispose]();
  await sql.end({ timeout: 2 });
  await database[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  nowMs = Date.now();
  warned.length = 0;
  await sql`DELETE FROM node_results`;
});

const job = (over: Partial<JobSpec> = {}): JobSpec => ({
  requestId: randomUUID(),
  ownerId: "ann",
  keyId: randomUUID(),
  endpoint: "t/a",
  version: "1.0.0",
  taskQueue: "gpu/t/a/1.0.0",
  priority: "normal",
  modelDigest: "d",
  input: { inline: {} },
  submittedAtMs: nowMs,
  retry: { attemptsMax: 1, initialMs: 1, backoff: 1, maximumMs: 1 },
  timeouts: { heartbeatMs: 1000, runMs: 1000 },
  node: { pipelineId: randomUUID(), id: "n" },
  cache: true,
  ...over,
});
const INPUT: JsonObject = { prompt: "x", seed: 1 };
const open = (of = job(), input = INPUT, signal = never): Promise<CacheLookup> =>
  cache.lookUp(of, { input, files: [] }, signal);
const making = (lookup: CacheLookup): ResultClaim => {
  if ("output" in lookup) throw new Error("an earlier result was found where there should be none");
  return lookup;
};
const output = { inline: { seed: 1 } };
/** Resolves when a lookup waits for a result that is being made. */
const waits = async (waiter: Promise<unknown>): Promise<void> => {
  const first = await Promise.race([
    waiter.then(() => "ended"),
    new Promise((resolve) => setTimeout(resolve, LEASE_MS * 2, "waits")),
  ]);
  expect(first).toBe("waits");
};

describe("a node's result", () => {
  it("is found by the next node of this owner, model and input, and by no other", async () => {
    const first = job();
    await making(await open(first)).store(output, []);
    expect(await open()).toEqual({ output, madeBy: first.requestId });
    for (const other of [
      job({ ownerId: "bob" }),
      job({ modelDigest: "e" }),
      job({ lifecycle: { lifetimeSeconds: 60 } }),
    ]) {
      await making(await open(other)).release();
    }
    await making(await open(job(), { ...INPUT, seed: 2 })).release();
  });

  it("of two at once is made by one; the other waits as long as that takes, and gets it", async () => {
    const first = making(await open());
    const second = open();
    // Longer than a claim lasts that is not renewed.
    await waits(second);
    await first.store(output, []);
    expect(await second).toMatchObject({ output });
  });

  it("is made by the waiting one when the first gives up", async () => {
    const first = making(await open());
    const second = open();
    await waits(second);
    await first.release();
    await making(await second).store(output, []);
    expect(await open()).toMatchObject({ output });
  });

  it("is made by the waiting one when the first one's process has died", async () => {
    // A claim that is not renewed, as a killed GPU worker leaves it.
    const killed = await createNodeCache({ ...parts(), results: { ...results, renew: async () => {} } });
    const dead = making(await killed.lookUp(job(), { input: INPUT, files: [] }, never));
    await making(await open()).store(output, []);
    await dead.release();
    await killed[Symbol.asyncDispose]();
    expect(await open()).toMatchObject({ output });
  });

  it("is no longer waited for by a cancelled request", async () => {
    const first = making(await open());
    const cancelled = new AbortController();
    const second = open(job(), INPUT, cancelled.signal);
    await waits(second);
    const cancel = new TemperaError("client_cancelled");
    cancelled.abort(cancel);
    await expect(second).rejects.toBe(cancel);
    await first.release();
  });

  it("is made again when it or one of its files was deleted", async () => {
    const put = (key: string) =>
      objects.put(key, Buffer.from("x"), { bytes: 1, contentType: "application/json" });
    const files = ["artifacts/aa/one.png", "artifacts/aa/two.png"];
    const stored = { ref: "outcomes/one.json" };
    for (const lost of [...files, stored.ref]) {
      await Promise.all([...files, stored.ref].map(put));
      await making(await open()).store(
        stored,
        files.map((key) => `http://localhost/files/${key}`),
      );
      expect(await open()).toMatchObject({ output: stored });
      await objects.delete(lost);
      await making(await open()).release();
    }
  });

  it("expires with its files, and after the configured time at the latest", async () => {
    const short = { lifecycle: { lifetimeSeconds: 3600 } };
    nowMs -= 3600 * 1000 - 60_000;
    await making(await open(job(short))).store(output, []);
    expect(await open(job(short))).toMatchObject({ output });
    nowMs -= 60_001;
    await sql`DELETE FROM node_results`;
    await making(await open(job(short))).store(output, []);
    await making(await open(job(short))).release();

    nowMs = Date.now() - DAY_MS - 1;
    await making(await open()).store(output, []);
    await making(await open()).release();
  });

  it("is neither stored nor looked up while the store is away: the node runs", async () => {
    const away = () => Promise.reject(new TemperaError("store_unavailable", "PostgreSQL is away."));
    const awayResults = { ...results, findOrClaim: away, store: away };
    const without = await createNodeCache({ ...parts(), results: awayResults });
    await making(await without.lookUp(job(), { input: INPUT, files: [] }, never)).store(output, []);
    expect(warned).toEqual([expect.stringContaining("PostgreSQL is away.")]);
    await without[Symbol.asyncDispose]();
    const disabled = await createNodeCache({
      ...parts(),
      keepMs: 0,
      results: { ...results, findOrClaim: away },
    });
    await making(await disabled.lookUp(job(), { input: INPUT, files: [] }, never)).store(output, []);
    expect(warned).toHaveLength(1);
    await disabled[Symbol.asyncDispose]();
  });
});
