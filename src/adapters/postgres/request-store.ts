import type { RequestStore } from "../../core/ports/request-store.ts";
import type { Sql } from "./connection.ts";

const rec = (r: any) => ({
  requestId: r.request_id,
  ownerId: r.owner_id,
  keyId: r.key_id,
  endpoint: r.endpoint,
  version: r.version,
  taskQueue: r.task_queue,
  priority: r.priority,
  submittedAtMs: +r.submitted_at,
  attempts: r.attempts,
  logs: r.logs,
  ...(r.started_at && { startedAtMs: +r.started_at }),
  ...(r.ended_at && { endedAtMs: +r.ended_at }),
  ...(r.outcome && { outcome: r.outcome }),
});
export const createRequestStore = (sql: Sql): RequestStore => ({
  insert: async (j) =>
    void (await sql`INSERT INTO requests (request_id, owner_id, key_id, endpoint, version, task_queue, priority, job, submitted_at) VALUES (${j.requestId}, ${j.ownerId}, ${j.keyId}, ${j.endpoint}, ${j.version}, ${j.taskQueue}, ${j.priority}, ${sql.json(j as any)}, ${new Date(j.submittedAtMs)}) ON CONFLICT DO NOTHING`),
  finish: async ({ job: j, outcome, attempts, startedAtMs, endedAtMs, logs, deadLetter }) =>
    sql.begin(async (t) => {
      await t`INSERT INTO requests (request_id, owner_id, key_id, endpoint, version, task_queue, priority, job, submitted_at, started_at, ended_at, attempts, outcome, logs) VALUES (${j.requestId}, ${j.ownerId}, ${j.keyId}, ${j.endpoint}, ${j.version}, ${j.taskQueue}, ${j.priority}, ${t.json(j as any)}, ${new Date(j.submittedAtMs)}, ${startedAtMs ? new Date(startedAtMs) : null}, ${new Date(endedAtMs)}, ${attempts}, ${t.json(outcome as any)}, ${t.json(logs as any)}) ON CONFLICT (request_id) DO UPDATE SET started_at = excluded.started_at, ended_at = excluded.ended_at, attempts = excluded.attempts, outcome = excluded.outcome, logs = excluded.logs WHERE requests.outcome IS NULL`;
      if (deadLetter)
        await t`INSERT INTO dead_letters (request_id, reason, created_at) VALUES (${j.requestId}, ${deadLetter.reason}, ${new Date(endedAtMs)}) ON CONFLICT DO NOTHING`;
      const [r] = await t`SELECT outcome FROM requests WHERE request_id = ${j.requestId}`;
      return r?.outcome;
    }) as any,
  find: async (id) => {
    const [r] = await sql`SELECT * FROM requests WHERE request_id = ${id}`;
    return r && (rec(r) as any);
  },
  deadLetters: async (n) =>
    (
      await sql`SELECT r.*, d.reason, d.created_at FROM dead_letters d JOIN requests r USING (request_id) ORDER BY d.created_at DESC LIMIT ${n}`
    ).map((r: any) => ({ ...rec(r), reason: r.reason, createdAtMs: +r.created_at })) as any,
});
