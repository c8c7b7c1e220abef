import { CATALOGUE } from "../../../core/errors/catalogue.ts";
import { writeJson } from "../../../core/json/exact-json.ts";
import { LIMITS } from "../../../core/limits.ts";
import { usageOf } from "../../../core/owners/usage.ts";
import type { LoggedEvent } from "../../../core/requests/events.ts";
import { type JobSpec, refsOf } from "../../../core/requests/job.ts";
import { isRequestId, type Outcome } from "../../../core/requests/request.ts";
import type { ActiveQuery, FinishedJob, RequestStore } from "../../../core/requests/request-store.ts";
import { answer, type Sql, storableText } from "../connection.ts";
import { usageInsert } from "../owners/usage-insert.ts";
import {
  type DeadLetterRow,
  deadLetterOfRow,
  type IdentityRow,
  identityColumns,
  identityOfRow,
  type RequestRow,
  recordOfRow,
} from "./request-rows.ts";

/** The columns that a job fills. JSON is passed as text, so that it is read back byte for byte. */
const jobColumns = (sql: Sql, job: JobSpec) => sql`
  ${job.requestId}, ${job.ownerId}, ${job.keyId}, ${job.endpoint}, ${job.version}, ${job.taskQueue},
  ${job.priority}, ${writeJson(job)}::text::json, ${new Date(job.submittedAtMs)},
  ${job.node?.pipelineId ?? null}, ${job.node ? storableText(job.node.id) : null}`;

/**
 * Returns the searchable text of log lines: their first 100,000 characters, since a tsvector holds less than
 * a MiB. `null` without lines.
 */
function searchableText(logs: LoggedEvent[]): string | null {
  if (logs.length === 0) return null;
  const messages = logs.map(({ event }) => (event.type === "log" ? event.message : ""));
  return storableText(messages.join("\n").slice(0, 100_000).toWellFormed());
}

/** The columns of `jobColumns` and the references, for an `INSERT`. */
const jobColumnNames = (sql: Sql) => sql`
  request_id, owner_id, key_id, endpoint, version, task_queue, priority, job, submitted_at, parent_id,
  node_id, refs`;

/** Creates the PostgreSQL store of request records. */
export function createRequestStore(sql: Sql): RequestStore {
  return { ...writes(sql), ...queries(sql) };
}

const writes = (sql: Sql): Pick<RequestStore, "insert" | "finish"> => ({
  async insert(job) {
    await answer(
      sql,
      sql`INSERT INTO requests (${jobColumnNames(sql)})
          VALUES (${jobColumns(sql, job)}, ${refsOf(job)}) ON CONFLICT (request_id) DO NOTHING`,
    );
  },

  async finish(finished) {
    const { job, outcome } = finished;
    const [written] = await answer(sql, finishStatement(sql, finished));
    if (written?.won) return outcome;
    const [existing] = await answer(
      sql,
      sql<{ outcome: Outcome }[]>`SELECT outcome FROM requests WHERE request_id = ${job.requestId}`,
    );
    return existing?.outcome ?? outcome;
  },
});

/**
 * One statement, and so one transaction in one round trip: the outcome, its ledger entry and its dead letter
 * are written together or not at all. A rival that is ahead holds the row: this statement waits for it, finds
 * the outcome set, and writes nothing (`won` is false).
 */
function finishStatement(
  sql: Sql,
  { job, outcome, attempts, startedAtMs, endedAtMs, logs, deadLetter }: FinishedJob,
) {
  const endedAt = new Date(endedAtMs);
  const reason = deadLetter ? storableText(deadLetter.reason) : null;
  return sql<{ won: boolean }[]>`
    WITH finished AS (
      INSERT INTO requests (${jobColumnNames(sql)}, log_words, started_at, ended_at, attempts, outcome, logs,
                            status_code)
      VALUES (${jobColumns(sql, job)}, ${refsOf(job, outcome)},
              to_tsvector('simple', ${searchableText(logs)}::text),
              ${startedAtMs === undefined ? null : new Date(startedAtMs)}, ${endedAt},
              ${attempts}, ${writeJson(outcome)}::text::json, ${writeJson(logs)}::text::json,
              ${outcome.ok ? 200 : CATALOGUE[outcome.error.code].status})
      ON CONFLICT (request_id) DO UPDATE
        SET started_at = excluded.started_at, ended_at = excluded.ended_at, attempts = excluded.attempts,
            outcome = excluded.outcome, logs = excluded.logs, refs = excluded.refs,
            -- Another call with the same idempotency key may have written the row, with objects of its own.
            job = CASE WHEN requests.refs <@ excluded.refs THEN requests.job ELSE excluded.job END,
            log_words = excluded.log_words, status_code = excluded.status_code
        WHERE requests.outcome IS NULL
      RETURNING request_id
    ), billed AS (
      ${usageInsert(sql, usageOf({ job, outcome, attempts, endedAtMs }), sql`FROM finished`)}
    ), letter AS (
      INSERT INTO dead_letters (request_id, reason, created_at)
      SELECT request_id, ${reason}::text, ${endedAt} FROM finished WHERE ${reason}::text IS NOT NULL
    )
    SELECT EXISTS (SELECT FROM finished) AS won`;
}

const queries = (sql: Sql): Pick<RequestStore, "find" | "active" | "nodes" | "deadLetters"> => ({
  async find(requestId) {
    if (!isRequestId(requestId)) return undefined;
    const [row] = await answer(
      sql,
      sql<RequestRow[]>`SELECT * FROM requests WHERE request_id = ${requestId}`,
    );
    return row && recordOfRow(row);
  },

  async active(query) {
    const rows = await answer(sql, activeStatement(sql, query));
    return rows.map((row) => ({ ...identityOfRow(row), ended: row.ended_at !== null }));
  },

  async nodes(pipelineId) {
    if (!isRequestId(pipelineId)) return [];
    const rows = await answer(
      sql,
      sql<RequestRow[]>`
        SELECT * FROM requests WHERE parent_id = ${pipelineId}
        ORDER BY submitted_at, request_id LIMIT ${LIMITS.pipelineNodesMax}`,
    );
    return rows.map(recordOfRow);
  },

  async deadLetters(limit) {
    const rows = await answer(
      sql,
      sql<DeadLetterRow[]>`
        SELECT requests.*, reason, created_at FROM dead_letters JOIN requests USING (request_id)
        ORDER BY created_at DESC LIMIT ${limit}`,
    );
    return rows.map(deadLetterOfRow);
  },
});

/** Selects running and recently ended requests in two halves, so that each half uses an index of its own. */
function activeStatement(sql: Sql, query: ActiveQuery) {
  const { endedSinceMs, ownerId, requestId, app, version, limit } = query;
  const matching = sql`
    ${ownerId === undefined ? sql`` : sql`AND owner_id = ${storableText(ownerId)}`}
    ${requestId === undefined ? sql`` : sql`AND request_id = ${requestId}`}
    ${app === undefined ? sql`` : isInApp(sql, app)}
    ${version === undefined ? sql`` : sql`AND version = ${storableText(version)}`}`;
  const columns = sql`${identityColumns(sql)}, submitted_at, ended_at`;
  // For those that have ended, it is the ledger's index.
  const endedRecently =
    requestId === undefined
      ? sql`request_id IN (SELECT request_id FROM usage
                           WHERE ended_at >= ${new Date(endedSinceMs)} ${matching}
                           ORDER BY ended_at DESC LIMIT ${limit})`
      : sql`ended_at >= ${new Date(endedSinceMs)}`;
  return sql<(IdentityRow & { ended_at: Date | null })[]>`
    (SELECT ${columns} FROM requests WHERE outcome IS NULL ${matching}
     ORDER BY submitted_at DESC LIMIT ${limit})
    UNION ALL
    (SELECT ${columns} FROM requests WHERE ${endedRecently} ${matching} AND outcome IS NOT NULL)
    ORDER BY submitted_at DESC LIMIT ${limit}`;
}

const isInApp = (sql: Sql, app: string) => sql`
  AND (endpoint = ${storableText(app)} OR starts_with(endpoint, ${`${storableText(app)}/`}))`;
