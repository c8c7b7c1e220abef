/** An end that was told once is told by every gateway, although Redis comes back with an older copy. */
import { Hono } from "hono";
import { expect, it } from "vitest";
import { createRecordOutcome } from "../../src/activities/inference/record-outcome.ts";
import { connectPostgres } from "../../src/adapters/postgres/connection.ts";
import { createRequestStore } from "../../src/adapters/postgres/requests/request-store.ts";
import { createRedisEventLog } from "../../src/adapters/redis/event-log.ts";
import { answerError } from "../../src/api/http/answer-error.ts";
import { createResult } from "../../src/api/queue/result.ts";
import { createStatus } from "../../src/api/queue/status.ts";
import { createStatusStream } from "../../src/api/queue/status-stream.ts";
import type { EventLog } from "../../src/core/requests/event-log.ts";
import type { Outcome } from "../../src/core/requests/request.ts";
import type { RequestStore } from "../../src/core/requests/request-store.ts";
import { jobSpec } from "../conformance/stores/job-spec.ts";
import { leakCheck } from "../setup/leak-check.ts";
import { startOwnRedis } from "../setup/own-redis.ts";
import { testDatabase } from "../setup/test-database.ts";
import { wideBudgets } from "../setup/wide-budgets.ts";

leakCheck();

const JOB = jobSpec();
const OUTCOME: Outcome = { ok: true, output: { inline: { n: 1 } }, metrics: {} };
const clock = { nowMs: () => Date.now() };

/** The queue of a gateway that reaches these stores; Temporal knows nothing. */
function gateway(events: EventLog, requests: RequestStore): Hono {
  const log = { debug: () => {}, warn: () => {}, error: () => {} } as never;
  const api = {
    log,
    keyRing: { authenticate: async () => ({ ownerId: JOB.ownerId }) },
    budgets: wideBudgets(),
    events,
    requests,
    jobs: { describe: async () => undefined, outcome: async () => undefined },
    objects: {},
    clock,
    publicUrl: "http://gateway.test",
  } as never;
  const path = { endpoint: JOB.endpoint, requestId: JOB.requestId };
  const [status, stream, result] = [createStatus(api), createStatusStream(api), createResult(api)];
  return new Hono()
    .get("/status", (c) => status(c, { ...path, action: "status" }))
    .get("/stream", (c) => stream(c, { ...path, action: "stream" }))
    .get("/result", (c) => result(c, { ...path, action: "result" }))
    .onError((error, c) => answerError(c, error, { log }));
}

it("tells the end by status, stream and result after Redis was restored from an older copy", async () => {
  await using redis = await startOwnRedis();
  await using database = await testDatabase();
  const sql = connectPostgres(database.url, { maxConnections: 2 });
  const requests = createRequestStore(sql);
  const [worker, ...logs] = [1, 2, 3].map(() => createRedisEventLog({ url: redis.url })) as [
    EventLog,
    ...EventLog[],
  ];
  const gateways = logs.map((log) => gateway(log, requests));
  const recordOutcome = createRecordOutcome({
    events: worker,
    requests,
    objects: { delete: async () => {}, list: async () => [] },
    files: { uncountObjects: async () => {} },
    logSearch: { index: async () => {} },
    log: { info: () => {}, warn: () => {} },
    clock,
  });
  await worker.append(JOB, { type: "queued", attempt: 0 });
  await worker.append(JOB, { type: "started", attempt: 1, worker: "w" });
  for (const app of gateways)
    expect(await (await app.request("/status")).json()).toMatchObject({ status: "IN_PROGRESS" });
  await redis.keepCopy();
  await recordOutcome({ job: JOB, outcome: OUTCOME, attempts: 1, exhausted: false });

  const expectEnd = async () => {
    for (const app of gateways) {
      expect(await (await app.request("/status")).json()).toMatchObject({ status: "COMPLETED" });
      expect(await (await app.request("/result")).json()).toEqual({ n: 1 });
      const stream = await (await app.request("/stream")).text();
      expect(stream).toContain("COMPLETED");
      expect(stream).not.toContain("IN_PROGRESS");
    }
  };
  await expectEnd();
  await redis.restoreCopy();
  const late = { type: "progress", attempt: 1, step: 1, steps: 2 } as const;
  await expect
    .poll(() =>
      worker.append(JOB, late).then(
        () => "appended",
        () => "away",
      ),
    )
    .toBe("appended");
  await expectEnd();
  await Promise.all([worker, ...logs].map((log) => log.close()));
  await sql.end();
});
