import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { connectPostgres, type Sql } from "../../../src/adapters/postgres/connection.ts";
import { createModelVersionStore } from "../../../src/adapters/postgres/models/model-version-store.ts";
import { createRolloutStore } from "../../../src/adapters/postgres/models/rollout-store.ts";
import { createAuditLog } from "../../../src/adapters/postgres/operations/audit-log.ts";
import { createRequestStore } from "../../../src/adapters/postgres/requests/request-store.ts";
import type { ErrorCode } from "../../../src/core/errors/catalogue.ts";
import type { VersionContent } from "../../../src/core/models/published-version.ts";
import type { Rollout, RolloutRules } from "../../../src/core/models/rollout.ts";
import type { RolloutStore } from "../../../src/core/models/rollout-store.ts";
import type { JobSpec } from "../../../src/core/requests/job.ts";
import { newRequestId } from "../../../src/core/requests/request-id.ts";
import { checkRollouts } from "../../../src/maintenance/check-rollouts.ts";
import { leakCheck } from "../../setup/leak-check.ts";
import { testDatabase } from "../../setup/test-database.ts";

leakCheck();

const RULES: RolloutRules = { windowSeconds: 300, requestsMin: 3, errorMargin: 10, p95Ratio: 2 };
const clock = { nowMs: () => Date.now() };
const log = { debug() {}, info() {}, warn() {}, error() {} };

let database: Awaited<ReturnType<typeof testDatabase>>;
let sql: Sql;
let rollouts: RolloutStore;
let endpoint: string;
beforeAll(async () => {
  database = await testDatabase();
  sql = connectPostgres(database.url, { maxConnections: 5 });
  rollouts = createRolloutStore(sql);
});
beforeEach(() => {
  endpoint = `acme/${randomUUID()}`;
});
afterAll(async () => {
  await sql.end({ timeout: 2 });
  await database[Symbol.asyncDispose]();
});

async function begin(rules?: RolloutRules): Promise<Rollout> {
  const versions = createModelVersionStore(sql);
  for (const version of ["1.0.0", "1.1.0"]) {
    const model = {
      endpoint,
      version,
      digest: `${endpoint} ${version}`,
      schemas: { input: {}, output: {} },
    } as unknown as VersionContent;
    await versions.publish(
      {
        model,
        files: [],
        state: version === "1.0.0" ? "enabled" : "disabled",
        pushedBy: "k",
        pushId: randomUUID(),
      },
      () => {},
    );
  }
  return rollouts.start({
    endpoint,
    fromVersion: "1.0.0",
    toVersion: "1.1.0",
    share: 50,
    startedBy: "k",
    ...(rules && { rules }),
  });
}

/** Inserts requests of a version that ended now, each with its code or successfully. */
async function ended(version: string, outcomes: (ErrorCode | number)[]): Promise<void> {
  const requests = createRequestStore(sql);
  for (const outcome of outcomes) {
    const nowMs = Date.now();
    const job = {
      requestId: newRequestId(),
      ownerId: "o",
      keyId: "k",
      endpoint,
      version,
      taskQueue: "q",
      priority: "normal",
      modelDigest: "d",
      input: { inline: {} },
      submittedAtMs: nowMs,
    } as unknown as JobSpec;
    await requests.finish({
      job,
      outcome:
        typeof outcome === "number"
          ? { ok: true, output: { inline: {} }, metrics: {} }
          : { ok: false, error: { code: outcome, message: "x" }, metrics: {} },
      attempts: 1,
      startedAtMs: nowMs - (typeof outcome === "number" ? outcome : 0),
      endedAtMs: nowMs,
      logs: [],
    });
  }
}

describe("the record of a version", () => {
  it("counts outcomes and the p95 of good ones, without errors that callers cause", async () => {
    await ended("1.0.0", [
      100,
      200,
      300,
      "runner_server_error",
      "request_timeout",
      "client_cancelled",
      "input_invalid",
      "startup_timeout",
      "file_too_large",
    ]);
    const record = await rollouts.record(endpoint, "1.0.0", Date.now() - 60_000);
    expect(record).toMatchObject({ ended: 5, failed: 2 });
    expect(record.p95Ms).toBeCloseTo(290, 0);
    expect(await rollouts.record(endpoint, "1.1.0", 0)).toEqual({ ended: 0, failed: 0 });
    expect(await rollouts.record(endpoint, "1.0.0", Date.now() + 60_000)).toEqual({ ended: 0, failed: 0 });
  });
});

describe("a start", () => {
  it("is refused when the serving version was disabled, or another enabled, meanwhile", async () => {
    const { rolloutId } = await begin();
    await rollouts.end(rolloutId, { state: "rolled_back", reason: "over" });
    const versions = createModelVersionStore(sql);
    const start = (fromFolder = false) =>
      rollouts.start({
        endpoint,
        fromVersion: "1.0.0",
        fromFolder,
        toVersion: "1.1.0",
        share: 1,
        startedBy: "k",
      });
    await versions.setState(endpoint, "1.0.0", "disabled");
    await expect(start()).rejects.toMatchObject({ code: "rollout_invalid" });
    expect((await versions.content(endpoint, "1.1.0"))?.state).toBe("disabled");
    const { rolloutId: again } = await start(true);
    await rollouts.end(again, { state: "rolled_back", reason: "over" });
    const model = {
      endpoint,
      version: "1.0.5",
      digest: "d",
      schemas: { input: {}, output: {} },
    } as unknown as VersionContent;
    await versions.publish(
      { model, files: [], state: "enabled", pushedBy: "k", pushId: randomUUID() },
      () => {},
    );
    await expect(start(true)).rejects.toMatchObject({
      code: "rollout_invalid",
      message: expect.stringContaining("now by 1.0.5"),
    });
  });
});

describe("a check that is due", () => {
  it("is given to one of many callers, and not again before its time; never without rules", async () => {
    const { rolloutId } = await begin(RULES);
    await sql`UPDATE rollouts SET checked_at = now() - interval '10 s' WHERE rollout_id = ${rolloutId}`;
    const due = await Promise.all(Array.from({ length: 4 }, () => rollouts.due(5_000)));
    expect(due.flat().filter((each) => each.rolloutId === rolloutId)).toHaveLength(1);
    endpoint = `acme/${randomUUID()}`;
    const byHand = await begin();
    expect((await rollouts.due(0)).map(({ rolloutId: id }) => id)).not.toContain(byHand.rolloutId);
  });

  it("leaves the revision unchanged", async () => {
    const { rolloutId, revision } = await begin(RULES);
    const due = (await rollouts.due(0)).find((each) => each.rolloutId === rolloutId);
    expect(due?.revision).toBe(revision);
  });
});

describe("checkRollouts", () => {
  const check = (store: RolloutStore = rollouts): Promise<void> =>
    checkRollouts({ rollouts: store, audit: createAuditLog(sql), clock, log }, 0);
  const now = async (): Promise<Rollout | undefined> =>
    (await rollouts.list()).find((each) => each.endpoint === endpoint);
  const audited = () => sql<{ action: string; state: string; error_code: string | null }[]>`
    SELECT action, state, error_code FROM audit WHERE subject = ${`${endpoint} 1.1.0`} ORDER BY at`;

  it("rolls back for a worse p95, and disables the version", async () => {
    await begin(RULES);
    await ended("1.0.0", [10, 10, 10]);
    await ended("1.1.0", [100, 100, 100]);
    await check();
    expect(await now()).toMatchObject({
      state: "rolled_back",
      reason: expect.stringContaining("p95 of 100 ms"),
    });
    expect(await audited()).toEqual([{ action: "rollouts.rollback", state: "made", error_code: null }]);
    expect((await createModelVersionStore(sql).content(endpoint, "1.1.0"))?.state).toBe("disabled");
  });

  it("promotes at the end of its time", async () => {
    const { rolloutId } = await begin({ ...RULES, promoteAfterSeconds: 10 });
    await ended("1.1.0", [10, 10, 10]);
    await check();
    expect((await now())?.state).toBe("running");
    await sql`ALTER TABLE rollouts DISABLE TRIGGER rollouts_revise`;
    await sql`UPDATE rollouts SET changed_at = now() - interval '11 s' WHERE rollout_id = ${rolloutId}`;
    await sql`ALTER TABLE rollouts ENABLE TRIGGER rollouts_revise`;
    await check();
    expect((await now())?.state).toBe("promoted");
  });

  it("drops a decision on a rollout that was changed meanwhile, and records that in the audit", async () => {
    const { rolloutId } = await begin(RULES);
    await ended("1.1.0", ["runner_server_error", "runner_server_error", "runner_server_error"]);
    const slow: RolloutStore = {
      ...rollouts,
      record: async (...args) => {
        const record = await rollouts.record(...args);
        if (args[0] === endpoint && args[1] === "1.1.0") await rollouts.setShare(rolloutId, 5);
        return record;
      },
    };
    await check(slow);
    expect(await now()).toMatchObject({ state: "running", share: 5 });
    expect(await audited()).toEqual([
      { action: "rollouts.rollback", state: "failed", error_code: "precondition_failed" },
    ]);
    await check();
    expect((await now())?.state).toBe("rolled_back");
  });
});
