import { CATALOGUE } from "../../../core/errors/catalogue.ts";
import type { LoggedEvent } from "../../../core/requests/events.ts";
import { type JobSpec, refsOf } from "../../../core/requests/job.ts";
import { LIMITS } from "../../../core/limits.ts";
import type { DeadLetter, RequestRecord, RequestStore } from "../../../core/requests/request-store.ts";
import { isRequestId, type Outcome, type Priority } from "../../../core/requests/request.ts";
import { usageOf } from "../../../core/owners/usage.ts";
import { answer, type Sql, storableText } from "../connection.ts";
import { usageInsert } from "../owners/usage-insert.ts";

interface RequestRow {
  request_id: string;
  owner_id: string;
  key_id: string;
  endpoint: string;
  version: string;
  task_queue: string;
  priority: Priority;
  job: JobSpec;
  submitted_at: Date;
  started_at: Date | null;
  ended_at: Date | null;
  attempts: number;
  outcome: Outcome | null;
  logs: LoggedEvent[];
  parent_id: string | null;
  node_id: string | null;
}

const recordOf = (row: RequestRow): RequestRecord => ({
  requestId: row.request_id,
  ownerId: row.owner_id,
  keyId: row.key_id,
  endpoint: row.endpoint,
  version: row.version,
  taskQueue: row.task_queue,
  priority: row.priority,
  submittedAtMs: row.submitted_at.getTime(),
  ...(row.parent_id !== null && { node: { pipelineId: row.parent_id, id: row.node_id ?? "" } }),
  ...(row.job.rerunOf !== undefined && { rerunOf: row.job.rerunOf }),
  ...(row.started_at && { startedAtMs: row.started_at.getTime() }),
  ...(row.ended_at && { endedAtMs: row.ended_at.getTime() }),
  attempts: row.attempts,
  ...(row.outcome && { outcome: row.outcome }),
  logs: row.logs,
});

/** The columns that a job's spec fills. JSON goes in as text, so that it comes back letter by letter. */
const jobColumns = (sql: Sql, job: JobSpec) => sql`
  ${job.requestId}, ${job.ownerId}, ${job.keyId}, ${job.endpoint}, ${job.version}, ${job.taskQueue}, ${job.priority},
  ${JSON.stringify(job)}::text::json, ${new Date(job.submittedAtMs)}, ${job.node?.pipelineId ?? null},
  ${job.node ? storableText(job.node.id) : null}`;

/**
 * What of a request's lines is searched: a tsvector holds less than a MiB, so the first 100,000 characters.
 * `null`: there are none.
 */
function logWords(logs: LoggedEvent[]): string | null {
  if (logs.length === 0) return null;
  const messages = logs.map(({ event }) => (event.type === "log" ? event.message : ""));
  return storableText(messages.join("\n").slice(0, 100_000).toWellFormed());
}

/** The searchable record of requests, in Postgres. */
export const createRequestStore = (sql: Sql): RequestStore => ({
  async insert(job) {
    await answer(
      sql,
      sql`INSERT INTO requests (request_id, owner_id, key_id, endpoint, version, task_queue, priority, job, submitted_at,
                                parent_id, node_id, refs)
          VALUES (${jobColumns(sql, job)}, ${refsOf(job)}) ON CONFLICT (request_id) DO NOTHING`,
    );
  },

  async finish({ job, outcome, attempts, startedAtMs, endedAtMs, logs, deadLetter }) {
    const endedAt = new Date(endedAtMs);
    const reason = deadLetter ? storableText(deadLetter.reason) : null;
    // One statement, the ledger's entry included, so one transaction in one round trip: no outcome without
    // its entry. A rival that is ahead holds the row: this one waits for it, then finds the outcome set and
    // writes nothing.
    const [written] = await answer(
      sql,
      sql<{ won: boolean }[]>`
        WITH finished AS (
          INSERT INTO requests (request_id, owner_id, key_id, endpoint, version, task_queue, priority, job, submitted_at,
                                parent_id, node_id, refs, log_words, started_at, ended_at, attempts, outcome, logs, status_code)
          VALUES (${jobColumns(sql, job)}, ${refsOf(job, outcome)}, to_tsvector('simple', ${logWords(logs)}::text),
                  ${startedAtMs === undefined ? null : new Date(startedAtMs)}, ${endedAt},
                  ${attempts}, ${JSON.stringify(outcome)}::text::json, ${JSON.stringify(logs)}::text::json,
                  ${outcome.ok ? 200 : CATALOGUE[outcome.error.code].status})
          ON CONFLICT (request_id) DO UPDATE
            SET started_at = excluded.started_at, ended_at = excluded.ended_at, attempts = excluded.attempts,
                outcome = excluded.outcome, logs = excluded.logs, refs = excluded.refs, log_words = excluded.log_words,
                status_code = excluded.status_code
            WHERE requests.outcome IS NULL
          RETURNING request_id
        ), billed AS (
          ${usageInsert(sql, usageOf({ job, outcome, attempts, endedAtMs }), sql`FROM finished`)}
        ), letter AS (
          INSERT INTO dead_letters (request_id, reason, created_at)
          SELECT request_id, ${reason}::text, ${endedAt} FROM finished WHERE ${reason}::text IS NOT NULL
        )
        SELECT EXISTS (SELECT FROM finished) AS won`,
    );
    if (written?.won) return outcome;
    const [standing] = await answer(
      sql,
      sql<{ outcome: Outcome }[]>`SELECT outcome FROM requests WHERE request_id = ${job.requestId}`,
    );
    return standing?.outcome ?? outcome;
  },

  async find(requestId) {
    if (!isRequestId(requestId)) return undefined;
    const [row] = await answer(
      sql,
      sql<RequestRow[]>`SELECT * FROM requests WHERE request_id = ${requestId}`,
    );
    return row && recordOf(row);
  },

  async active({ endedSinceMs, ownerId, requestId, app, version, limit }) {
    const those = sql`
      ${ownerId === undefined ? sql`` : sql`AND owner_id = ${storableText(ownerId)}`}
      ${requestId === undefined ? sql`` : sql`AND request_id = ${requestId}`}
      ${app === undefined ? sql`` : sql`AND (endpoint = ${storableText(app)} OR starts_with(endpoint, ${`${storableText(app)}/`}))`}
      ${version === undefined ? sql`` : sql`AND version = ${storableText(version)}`}`;
    const columns = sql`request_id, owner_id, endpoint, version, task_queue, priority, submitted_at, ended_at`;
    // Two halves, so that each has its index: of those that have ended, the ledger's.
    const lately =
      requestId === undefined
        ? sql`request_id IN (SELECT request_id FROM usage WHERE ended_at >= ${new Date(endedSinceMs)} ${those} ORDER BY ended_at DESC LIMIT ${limit})`
        : sql`ended_at >= ${new Date(endedSinceMs)}`;
    const rows = await answer(
      sql,
      sql<RequestRow[]>`
        (SELECT ${columns} FROM requests WHERE outcome IS NULL ${those} ORDER BY submitted_at DESC LIMIT ${limit})
        UNION ALL
        (SELECT ${columns} FROM requests WHERE ${lately} ${those} AND outcome IS NOT NULL)
        ORDER BY submitted_at DESC LIMIT ${limit}`,
    );
    return rows.map((row) => ({
      requestId: row.request_id,
      ownerId: row.owner_id,
      endpoint: row.endpoint,
      version: row.version,
      taskQueue: row.task_queue,
      priority: row.priority,
      ended: row.ended_at !== null,
    }));
  },

  async nodes(pipelineId) {
    if (!isRequestId(pipelineId)) return [];
    const rows = await answer(
      sql,
      sql<RequestRow[]>`
        SELECT * FROM requests WHERE parent_id = ${pipelineId} ORDER BY submitted_at, request_id LIMIT ${LIMITS.pipelineNodesMax}`,
    );
    return rows.map(recordOf);
  },

  async deadLetters(limit) {
    const rows = await answer(
      sql,
      sql<(RequestRow & { reason: string; created_at: Date })[]>`
        SELECT requests.*, reason, created_at FROM dead_letters JOIN requests USING (request_id)
        ORDER BY created_at DESC LIMIT ${limit}`,
    );
    return rows.map(
      ({ request_id, owner_id, endpoint, version, reason, attempts, created_at }): DeadLetter => ({
        requestId: request_id,
        ownerId: owner_id,
        endpoint,
        version,
        reason,
        attempts,
        createdAtMs: created_at.getTime(),
      }),
    );
  },
});
