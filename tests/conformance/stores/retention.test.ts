import { mkdtemp, rm, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { purgeBatch } from "../../../src/activities/operations/purge.ts";
import type { PurgeDependencies } from "../../../src/activities/operations/purge-batches.ts";
import { createFileObjectStore } from "../../../src/adapters/object-store/file-object-store.ts";
import { connectPostgres, type Sql } from "../../../src/adapters/postgres/connection.ts";
import { createFileStore } from "../../../src/adapters/postgres/files/file-store.ts";
import { createRetentionStore } from "../../../src/adapters/postgres/operations/retention-store.ts";
import { createRequestStore } from "../../../src/adapters/postgres/requests/request-store.ts";
import { createDeliveryStore } from "../../../src/adapters/postgres/webhooks/delivery-store.ts";
import type { FileStore } from "../../../src/core/files/file-store.ts";
import type { ObjectStore } from "../../../src/core/files/object-store.ts";
import {
  type DeletedKind,
  KINDS_OF,
  type RetentionPolicy,
  type RetentionSweep,
} from "../../../src/core/operations/retention.ts";
import type { RetentionStore } from "../../../src/core/operations/retention-store.ts";
import type { JobSpec } from "../../../src/core/requests/job.ts";
import type { Outcome } from "../../../src/core/requests/request.ts";
import { newRequestId } from "../../../src/core/requests/request-id.ts";
import type { RequestStore } from "../../../src/core/requests/request-store.ts";
import { leakCheck } from "../../setup/leak-check.ts";
import { testDatabase } from "../../setup/test-database.ts";
import { jobSpec } from "./job-spec.ts";

leakCheck();

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const NOW_MS = Date.now();
const POLICY: RetentionPolicy = {
  requestMs: 90 * DAY_MS,
  payloadMs: 30 * DAY_MS,
  logMs: 10 * DAY_MS,
  artifactMs: null,
  uploadMs: null,
  usageMs: null,
};

let database: Awaited<ReturnType<typeof testDatabase>>;
let folder: string;
let sql: Sql;
let requests: RequestStore;
let retention: RetentionStore;
let objects: ObjectStore;
/** Jobs that Temporal reports as running, and those that it was asked to delete. */
let running: Set<string>;
let forgotten: string[];
let deps: PurgeDependencies & { files: FileStore };
beforeEach(async () => {
  database = await testDatabase();
  folder = await mkdtemp(join(tmpdir(), "tempera-retention-"));
  sql = connectPostgres(database.url, { maxConnections: 3 });
  requests = createRequestStore(sql);
  retention = createRetentionStore(sql);
  objects = createFileObjectStore({ folder });
  running = new Set();
  forgotten = [];
  deps = {
    retention,
    objects,
    files: createFileStore(sql),
    events: { drop: async () => {} },
    jobs: {
      describe: async (requestId) => (running.has(requestId) ? ({ state: "IN_QUEUE" } as never) : undefined),
      forget: async (requestId) => void forgotten.push(requestId),
    },
    logSearch: { remove: async () => {} },
    policy: POLICY,
    clock: { nowMs: () => NOW_MS },
    log: { debug() {}, info() {}, warn() {}, error() {} },
  };
});
afterEach(async () => {
  await sql.end({ timeout: 2 });
  await database[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const job = (over: Partial<JobSpec> = {}): JobSpec =>
  jobSpec({ input: { inline: { prompt: "hello \u0000" } }, submittedAtMs: NOW_MS - 400 * DAY_MS, ...over });
const inline: Outcome = { ok: true, output: { inline: { text: "answer" } }, metrics: {} };
const apart = (key: string): Outcome => ({ ok: true, output: { ref: key }, metrics: {} });
const logs = [
  { id: "1-0", atMs: 5, event: { type: "log", attempt: 1, level: "INFO", message: "hello" } as const },
];
/** Inserts a request that ended the given time ago. */
const ended = async (
  agoMs: number,
  over: Partial<JobSpec> = {},
  outcome: Outcome = inline,
): Promise<string> => {
  const spec = job({ submittedAtMs: NOW_MS - agoMs - 1000, ...over });
  await requests.finish({ job: spec, outcome, attempts: 1, endedAtMs: NOW_MS - agoMs, logs });
  return spec.requestId;
};
const put = async (key: string, agoMs = 0): Promise<string> => {
  await objects.put(key, Buffer.from("x"), { bytes: 1, contentType: "application/json" });
  const at = new Date(NOW_MS - agoMs);
  await utimes(join(folder, key), at, at);
  return key;
};
const there = async (key: string): Promise<boolean> => (await objects.head(key)) !== undefined;
const recorded = async (...ids: string[]): Promise<boolean[]> => {
  const found = await retention.recorded(ids);
  return ids.map((id) => found.has(id));
};
/** Runs a whole sweep, in batches of `limit`. */
async function sweep(
  which: RetentionSweep,
  with_: Partial<PurgeDependencies> = {},
  limit = 3,
): Promise<Partial<Record<DeletedKind, number>>> {
  const all: Partial<Record<DeletedKind, number>> = {};
  for (const kind of KINDS_OF[which]) {
    for (let after: string | undefined, batches = 0; ; batches++) {
      if (batches > 1000) throw new Error(`${kind} does not end`);
      const batch = await purgeBatch({ ...deps, ...with_ }, kind, after, limit);
      if (batch.deleted > 0) all[kind] = (all[kind] ?? 0) + batch.deleted;
      expect(batch.deleted).toBeLessThanOrEqual(limit);
      if (batch.done) break;
      after = batch.after;
    }
  }
  return all;
}

describe("the sweep of the expired", () => {
  it("deletes log lines, then payloads, then records, each at its time", async () => {
    const [young, lineless, bare, gone] = [
      await ended(5 * DAY_MS),
      await ended(11 * DAY_MS),
      await ended(31 * DAY_MS),
      await ended(91 * DAY_MS),
    ];
    expect(await sweep("expired")).toEqual({ request: 1, payload: 1, log: 2 });
    expect(await recorded(young, lineless, bare, gone)).toEqual([true, true, true, false]);
    expect(await requests.find(young)).toMatchObject({ outcome: inline, logs });
    expect(await requests.find(lineless)).toMatchObject({ outcome: inline, logs: [] });
    expect(await requests.find(bare)).toMatchObject({
      outcome: { ok: true, output: { ref: "gone" } },
      logs: [],
      attempts: 1,
    });
    expect(JSON.stringify(await sql`SELECT job FROM requests WHERE request_id = ${bare}`)).not.toContain(
      "hello",
    );
    expect(await sweep("expired")).toEqual({});
    expect(await retention.totals()).toEqual(
      [
        ["log", 2],
        ["payload", 1],
        ["request", 1],
      ].map(([kind, items]) => ({ kind, items, itemsToday: items })),
    );
    // Only requests that ended recently are in other stores too.
    expect(forgotten).toEqual([]);
  });

  it("uses the owner's times where there are some, and keeps what is kept for ever", async () => {
    await retention.setOwnerTimes("short", { requestMs: DAY_MS });
    await retention.setOwnerTimes("archive", { requestMs: null, payloadMs: null, logMs: null });
    const ids = [
      await ended(2 * DAY_MS, { ownerId: "short" }),
      await ended(DAY_MS / 2, { ownerId: "short" }),
      await ended(399 * DAY_MS, { ownerId: "archive" }),
      await ended(2 * DAY_MS, { ownerId: "other" }),
    ];
    expect(await sweep("expired")).toEqual({ request: 1 });
    expect(await recorded(...ids)).toEqual([false, true, true, true]);
    expect(forgotten).toEqual([ids[0]]);
    await retention.setOwnerTimes("archive", undefined);
    expect(await sweep("expired")).toEqual({ request: 1 });
    expect(await recorded(...ids)).toEqual([false, true, false, true]);
  });

  it("keeps unfinished requests of any age, and those with a pending webhook", async () => {
    const waiting = job();
    await requests.insert(waiting);
    const delivering = await ended(200 * DAY_MS);
    await createDeliveryStore(sql).record(
      { requestId: delivering, ownerId: "owner", endpoint: "a/b", url: "http://x/", round: 1 },
      { round: 1, attempt: 1, startedAtMs: NOW_MS, durationMs: 1, error: "no" },
      { state: "pending", nextAttemptAtMs: NOW_MS + 1000 },
    );
    expect(await sweep("expired")).toEqual({});
    expect(await recorded(waiting.requestId, delivering)).toEqual([true, true]);
    await sql`UPDATE deliveries SET state = 'dead'`;
    expect(await sweep("expired")).toEqual({ request: 1 });
    expect(await sql`SELECT FROM deliveries`).toHaveLength(0);
  });

  it("keeps the nodes of a pipeline until it has ended", async () => {
    const pipeline = job();
    await requests.insert(pipeline);
    const node = await ended(200 * DAY_MS, { node: { pipelineId: pipeline.requestId, id: "n" } });
    await put(`transient/${node}/output.json`, 2 * HOUR_MS);
    expect(await sweep("expired")).toEqual({});
    expect(await recorded(node)).toEqual([true]);
    await requests.finish({ job: pipeline, outcome: inline, attempts: 1, endedAtMs: NOW_MS, logs: [] });
    expect(await sweep("expired")).toEqual({ request: 1, "transient payload": 1 });
  });

  it("deletes the bytes of a record, except those that another record names", async () => {
    const first = newRequestId();
    const [input, output] = [await put(`inputs/${first}.json`), await put(`outcomes/${first}.json`)];
    await ended(200 * DAY_MS, { requestId: first, input: { ref: input } }, apart(output));
    // A dead letter was retried with the same input, and a pipeline reuses its node's output.
    const again = await ended(100 * DAY_MS, { input: { ref: input }, ownerId: "zz" });
    await retention.setOwnerTimes("zz", { requestMs: 150 * DAY_MS, payloadMs: 150 * DAY_MS });
    const kept = {
      n: { requestId: first, endpoint: "a/b", version: "1.0.0", inputHash: "h", output: { ref: output } },
    };
    const plan = { inline: { code: "x" } };
    const targets = { inline: {} };
    const pipeline = job({
      pipeline: { plan, callees: targets, depth: 0, deadlineMs: 0, cache: true, kept: { inline: kept } },
    });
    await requests.insert(pipeline);
    expect(await sweep("expired")).toEqual({ request: 1, log: 1 });
    expect([await there(input), await there(output)]).toEqual([true, true]);
    await requests.finish({
      job: pipeline,
      outcome: inline,
      attempts: 1,
      endedAtMs: NOW_MS - 200 * DAY_MS,
      logs: [],
    });
    await retention.setOwnerTimes("zz", undefined);
    expect(await sweep("expired")).toEqual({ request: 2 });
    expect([await there(input), await there(output)]).toEqual([false, false]);
    expect(await recorded(first, again, pipeline.requestId)).toEqual([false, false, false]);
  });

  it("ignores a caller's value that looks like a key", async () => {
    const other = await put("outcomes/other.json");
    await ended(200 * DAY_MS, { input: { inline: { ref: other, input: { ref: other } } } }, {
      ...inline,
      output: { inline: { ref: other } },
    } as Outcome);
    expect(await sweep("expired")).toEqual({ request: 1 });
    expect(await there(other)).toBe(true);
  });

  it("removes lines from the search first, and retries a record while the search is away", async () => {
    const id = await ended(11 * DAY_MS);
    const away = { remove: () => Promise.reject(new Error("away")) };
    await expect(sweep("expired", { logSearch: away })).rejects.toThrow("away");
    expect(await requests.find(id)).toMatchObject({ logs });
    const found: string[] = [];
    expect(await sweep("expired", { logSearch: { remove: async (ids) => void found.push(...ids) } })).toEqual(
      { log: 1 },
    );
    expect(found).toEqual([id]);
  });

  it("resumes after a stop at any point, and deletes and counts everything once", async () => {
    for (let i = 0; i < 10; i++) {
      const requestId = newRequestId();
      await ended(200 * DAY_MS, { requestId, input: { ref: await put(`inputs/${requestId}.json`) } });
    }
    let left = 4;
    const dying: PurgeDependencies["objects"] = {
      ...objects,
      delete: async (key) => {
        if (left-- === 0) throw new Error("killed");
        await objects.delete(key);
      },
    };
    await expect(sweep("expired", { objects: dying })).rejects.toThrow("killed");
    expect((await sql`SELECT FROM requests`).length).toBe(7);
    expect(await sweep("expired")).toEqual({ request: 7 });
    expect(await retention.totals()).toEqual([{ kind: "request", items: 10, itemsToday: 10 }]);
    expect(await objects.list("inputs/", undefined, 10)).toEqual([]);
  });

  it("deletes transient payloads after an hour and checkpoints of ended jobs, nothing in use", async () => {
    const done = await ended(2 * HOUR_MS);
    const delivering = await ended(2 * HOUR_MS);
    await createDeliveryStore(sql).record(
      { requestId: delivering, ownerId: "owner", endpoint: "a/b", url: "http://x/", round: 1 },
      { round: 1, attempt: 1, startedAtMs: NOW_MS, durationMs: 1 },
      { state: "pending" },
    );
    const webhook = { url: "http://x/", delaysMs: [1], timeoutMs: 1 };
    const untried = await ended(
      2 * HOUR_MS,
      { webhook, input: { ref: "transient/x" } },
      apart("transient/y"),
    );
    await put(`transient/${untried}/output.json`, 2 * HOUR_MS);
    const [waiting, unrecorded, unknown] = [job(), newRequestId(), newRequestId()];
    await requests.insert(waiting);
    running.add(unrecorded);
    for (const id of [done, delivering, waiting.requestId, unrecorded, unknown]) {
      await put(`transient/${id}/input.json`, 2 * HOUR_MS);
      await put(`checkpoints/${id}`, 2 * HOUR_MS);
    }
    await put(`transient/${done}/output.json`, HOUR_MS / 2);
    expect(await sweep("expired")).toEqual({ "transient payload": 2, checkpoint: 3 });
    const left = [
      ...(await objects.list("transient/", undefined, 20)),
      ...(await objects.list("checkpoints/", undefined, 20)),
    ];
    expect(new Set(left.map(({ key }) => key))).toEqual(
      new Set([
        `transient/${done}/output.json`,
        `transient/${delivering}/input.json`,
        `transient/${untried}/output.json`,
        ...[waiting.requestId, unrecorded].flatMap((id) => [
          `transient/${id}/input.json`,
          `checkpoints/${id}`,
        ]),
      ]),
    );
  });

  it("keeps the ledger longer than records, until its own time", async () => {
    const id = await ended(200 * DAY_MS);
    await sweep("expired");
    expect(await sql`SELECT FROM usage WHERE request_id = ${id}`).toHaveLength(1);
    expect(await sweep("expired", { policy: { ...POLICY, usageMs: 100 * DAY_MS } })).toEqual({ usage: 1 });
  });

  it("deletes node results at their time, where there are any", async () => {
    await sql`
      CREATE TABLE IF NOT EXISTS node_results (
        key text PRIMARY KEY, output json, files text[] NOT NULL DEFAULT '{}', expires_at timestamptz)`;
    const columns = (
      await sql`SELECT column_name FROM information_schema.columns WHERE table_name = 'node_results'`
    ).length;
    if (columns > 4) return; // the pipelines' own tests fill it
    await sql`
      INSERT INTO node_results VALUES
        ('old', '{}', '{}', ${new Date(NOW_MS - 1)}), ('new', '{}', '{}', ${new Date(NOW_MS + HOUR_MS)}),
        ('claim', NULL, '{}', NULL)`;
    expect(await sweep("expired")).toEqual({ "cached result": 1 });
    expect((await sql`SELECT key FROM node_results ORDER BY key`).map(({ key }) => key)).toEqual([
      "claim",
      "new",
    ]);
  });
});

describe("the sweep of orphans", () => {
  it("deletes bytes without a record, except young ones, named ones and those of waiting jobs", async () => {
    const named = newRequestId();
    await ended(DAY_MS, { requestId: named, input: { ref: await put(`inputs/${named}.json`, 3 * DAY_MS) } });
    const [waiting, orphan, young] = [newRequestId(), newRequestId(), newRequestId()];
    running.add(waiting);
    for (const id of [waiting, orphan])
      for (const of of ["inputs", "outcomes"]) await put(`${of}/${id}.json`, 3 * DAY_MS);
    await put(`inputs/${young}.json`, HOUR_MS);
    expect(await sweep("orphans")).toEqual({ "orphaned payload": 2 });
    expect((await objects.list("inputs/", undefined, 10)).map(({ key }) => key)).toEqual(
      [named, waiting, young].map((id) => `inputs/${id}.json`).sort(),
    );
    expect((await objects.list("outcomes/", undefined, 10)).map(({ key }) => key)).toEqual([
      `outcomes/${waiting}.json`,
    ]);
  });

  it("deletes files that no record names, and records whose bytes are missing", async () => {
    const files = createFileStore(sql);
    const file = async (fileId: string, writer: string, bytes: boolean): Promise<void> => {
      const objectKey = `files/${fileId.slice(0, 2)}/${fileId}-${writer}`;
      await files.begin({
        fileId,
        ownerId: "o",
        name: "a.bin",
        contentType: "x/y",
        lifecycle: {},
        objectKey,
        uploadUntilMs: NOW_MS,
      });
      if (bytes) await put(objectKey, 3 * DAY_MS);
      await files.store(fileId, objectKey, { bytes: 1, etag: "e" });
    };
    const [whole, lost, left] = ["a", "b", "c"].map((digit) => digit.repeat(32)) as [string, string, string];
    await file(whole, "1", true);
    await file(lost, "1", false);
    await put(`files/aa/${whole}-2`, 3 * DAY_MS);
    await put(`files/cc/${left}-1`, 3 * DAY_MS);
    await put(`files/cc/${left}-2`, HOUR_MS);
    expect(await sweep("orphans")).toEqual({ "orphaned file": 2, "file without bytes": 1 });
    expect(await files.find(whole)).toBeDefined();
    expect(await files.find(lost)).toBeUndefined();
    expect((await objects.list("files/", undefined, 10)).map(({ key }) => key)).toEqual([
      `files/aa/${whole}-1`,
      `files/cc/${left}-2`,
    ]);
  });

  it("keeps the records of files when most bytes are missing, as in another bucket", async () => {
    const files = createFileStore(sql);
    for (const digit of ["d", "e", "f"]) {
      const objectKey = `files/${digit}${digit}/${digit.repeat(32)}-1`;
      await files.begin({
        fileId: digit.repeat(32),
        ownerId: "o",
        name: "a",
        contentType: "x/y",
        lifecycle: {},
        objectKey,
        uploadUntilMs: NOW_MS,
      });
      await files.store(digit.repeat(32), objectKey, { bytes: 1, etag: "e" });
    }
    expect(await sweep("orphans", {}, 10)).toEqual({});
    expect(await files.find("d".repeat(32))).toBeDefined();
  });

  it("deletes artifacts without a record at their time, except those that an input names", async () => {
    const [old, used, young] = ["1", "2", "3"].map(
      (digit) => `artifacts/${digit}${digit}/${digit.repeat(64)}.png`,
    ) as [string, string, string];
    await put(old, 8 * DAY_MS);
    await put(used, 8 * DAY_MS);
    await put(young, DAY_MS);
    await requests.insert(
      job({ input: { inline: { image_url: `http://h/files/${used.slice("artifacts/".length)}` } } }),
    );
    expect(await sweep("orphans")).toEqual({});
    expect(await sweep("orphans", { policy: { ...POLICY, artifactMs: 7 * DAY_MS } })).toEqual({
      artifact: 1,
    });
    expect([await there(old), await there(used), await there(young)]).toEqual([false, true, true]);
  });
});

it("announces changes of an owner's times", async () => {
  let notify: () => void = () => {};
  const stop = await retention.onChange(() => notify());
  for (const times of [{ requestMs: 5000, logMs: null }, undefined]) {
    const notified = new Promise<void>((resolve) => {
      notify = resolve;
    });
    await retention.setOwnerTimes("o\u0000", times);
    await notified;
    expect(await retention.ownerTimes()).toEqual(times ? new Map([["o\ufffd", times]]) : new Map());
  }
  await stop();
});

describe("the count of an owner's stored bytes", () => {
  /** Puts an object, from this long ago, that counts a byte for its owner. */
  const putFor = async (ownerId: string, key: string, agoMs = 0): Promise<string> => {
    await deps.files.countObject({ ownerId, objectKey: key, bytes: 1 });
    return put(key, agoMs);
  };
  const totalOf = async (ownerId: string): Promise<number> => {
    const [row] = await sql<{ bytes: string }[]>`
      SELECT bytes FROM stored_totals WHERE owner_id = ${ownerId}`;
    return Number(row?.bytes ?? 0);
  };
  /** Puts every kind of counted object that is due to be deleted; returns their number. */
  const putAllDue = async (): Promise<number> => {
    const [gone, bare, orphan, unstored] = Array.from({ length: 4 }, newRequestId) as [string, ...string[]];
    const named = async (requestId: string, agoMs: number) => {
      const [input, output] = [`inputs/${requestId}-1.json`, `outcomes/${requestId}-2.json`];
      const refs = [await putFor("ann", input), await putFor("ann", output)] as [string, string];
      await ended(agoMs, { requestId, ownerId: "ann", input: { ref: refs[0] } }, apart(refs[1]));
    };
    await named(gone, 200 * DAY_MS);
    await named(bare as string, 31 * DAY_MS);
    for (const key of [`inputs/${orphan}-plan-1.json`, `outcomes/${orphan}-1.json`])
      await putFor("ann", key, 3 * DAY_MS);
    for (const what of ["input", "output"])
      await putFor("ann", `transient/${unstored}/${what}-1.json`, 2 * HOUR_MS);
    await putFor("ann", `artifacts/11/${"1".repeat(64)}.png`, 8 * DAY_MS);
    return 9;
  };
  const sweepAll = async (with_: Partial<PurgeDependencies> = {}): Promise<void> => {
    const policy = { ...POLICY, artifactMs: 7 * DAY_MS };
    for (const which of ["expired", "orphans"] as const) await sweep(which, { policy, ...with_ });
  };

  it("is what it was when records, payloads, orphans and artifacts are deleted", async () => {
    const due = await putAllDue();
    const kept = newRequestId();
    const input = await putFor("ann", `inputs/${kept}-1.json`);
    await ended(DAY_MS, { requestId: kept, ownerId: "ann", input: { ref: input } });
    expect(await totalOf("ann")).toBe(due + 1);
    await sweepAll();
    expect(await totalOf("ann")).toBe(1);
    expect(await there(input)).toBe(true);
  });

  it("is what it was after a sweep that died at any step and was repeated", async () => {
    const due = await putAllDue();
    for (let lasting = 0; ; lasting++) {
      let left = lasting;
      const dying = <T extends unknown[], R>(work: (...args: T) => Promise<R>) => {
        return async (...args: T): Promise<R> => {
          if (left-- === 0) throw new Error("killed");
          return work(...args);
        };
      };
      const died = await sweepAll({
        objects: { ...objects, delete: dying(objects.delete) },
        files: { ...deps.files, uncountObjects: dying(deps.files.uncountObjects) },
      }).then(
        () => false,
        () => true,
      );
      if (!died) break;
      expect(lasting).toBeLessThan(10 * due);
    }
    expect(await totalOf("ann")).toBe(0);
    for (const folder of ["inputs/", "outcomes/", "transient/", "artifacts/"])
      expect(await objects.list(folder, undefined, 10)).toEqual([]);
  });

  it("loses what was counted and never stored, once no writer can be on its way", async () => {
    await deps.files.countObject({ ownerId: "ann", objectKey: "inputs/never.json", bytes: 5 });
    await putFor("ann", "inputs/stored.json");
    expect(await sweep("orphans")).toEqual({});
    expect(await totalOf("ann")).toBe(6);
    await sql`UPDATE owner_artifacts SET check_after = now()`;
    expect(await sweep("orphans", {}, 10)).toEqual({ "count without bytes": 1 });
    expect(await totalOf("ann")).toBe(1);
    // An object that was found is not looked for again until much later.
    await objects.delete("inputs/stored.json");
    expect(await sweep("orphans")).toEqual({});
    await sql`UPDATE owner_artifacts SET check_after = now()`;
    expect(await sweep("orphans")).toEqual({ "count without bytes": 1 });
    expect(await totalOf("ann")).toBe(0);
  });

  it("stays when most objects are missing, as in the wrong bucket", async () => {
    for (const n of [1, 2, 3]) await putFor("ann", `inputs/stored-${n}.json`);
    await sql`UPDATE owner_artifacts SET check_after = now()`;
    const head = async () => undefined;
    expect(await sweep("orphans", { objects: { ...objects, head } })).toEqual({});
    expect(await totalOf("ann")).toBe(3);
  });
});
