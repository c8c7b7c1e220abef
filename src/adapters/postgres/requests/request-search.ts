import { writeJson } from "../../../core/json/exact-json.ts";
import type { JobSpec } from "../../../core/requests/job.ts";
import { isRequestId, type Outcome } from "../../../core/requests/request.ts";
import type { EndedQuery, EndedRequest, RequestSearch } from "../../../core/requests/request-search.ts";
import { answer, type Sql, storableText } from "../connection.ts";
import { type IdentityRow, identityColumns, identityOfRow } from "./request-rows.ts";
import { withoutPayloads } from "./without-payloads.ts";

interface EndedRow {
  request_id: string;
  owner_id: string;
  endpoint: string;
  submitted_at: Date;
  started_at: Date | null;
  ended_at: Date;
  status_code: number;
  seconds: string;
}

const endedOf = (row: EndedRow): EndedRequest => ({
  requestId: row.request_id,
  ownerId: row.owner_id,
  endpoint: row.endpoint,
  submittedAtMs: row.submitted_at.getTime(),
  ...(row.started_at && { startedAtMs: row.started_at.getTime() }),
  endedAtMs: row.ended_at.getTime(),
  statusCode: row.status_code,
  seconds: Number(row.seconds),
});

/** Creates the PostgreSQL search among the records of requests. */
export function createRequestSearch(sql: Sql): RequestSearch {
  return { ...endedRequests(sql), ...payloads(sql), ...unfinishedRequests(sql) };
}

/** The seconds that a request ran, written exactly as in the index. */
const secondsColumn = (sql: Sql) => sql`extract(epoch FROM ended_at - COALESCE(started_at, ended_at))`;

const endedColumns = (sql: Sql) => sql`
  request_id, owner_id, endpoint, submitted_at, started_at, ended_at, status_code,
  ${secondsColumn(sql)} AS seconds`;

const endedRequests = (sql: Sql): Pick<RequestSearch, "ended" | "find"> => ({
  async ended(query) {
    const rows = await answer(sql, endedStatement(sql, query));
    return rows.map(endedOf);
  },

  async find(requestId) {
    if (!isRequestId(requestId)) return undefined;
    const [row] = await answer(
      sql,
      sql<EndedRow[]>`
        SELECT ${endedColumns(sql)} FROM requests WHERE request_id = ${requestId} AND ended_at IS NOT NULL`,
    );
    return row && endedOf(row);
  },
});

/** Selects a page of each endpoint by itself, from its index, and merges the pages. */
function endedStatement(sql: Sql, query: EndedQuery) {
  const { endpoints, ownerId, startMs, endMs, status, sortBy, after, limit } = query;
  const seconds = secondsColumn(sql);
  const byEnd = sortBy === "ended_at";
  const next =
    after === undefined
      ? sql``
      : byEnd
        ? sql`AND (ended_at, request_id) < (${new Date(after.value)}, ${after.requestId}::uuid)`
        : sql`AND (${seconds}, request_id) < (${String(after.value)}::numeric, ${after.requestId}::uuid)`;
  const order = byEnd ? sql`ended_at DESC, request_id DESC` : sql`${seconds} DESC, request_id DESC`;
  return sql<EndedRow[]>`
    SELECT page.* FROM unnest(${endpoints.map(storableText)}::text[]) AS wanted
    CROSS JOIN LATERAL (
      SELECT ${endedColumns(sql)} FROM requests
      WHERE endpoint = wanted AND ended_at IS NOT NULL
        AND ended_at >= ${new Date(startMs)} AND ended_at < ${new Date(endMs)}
      ${ownerId === undefined ? sql`` : sql`AND owner_id = ${storableText(ownerId)}`}
      ${hasStatus(sql, status)} ${next}
      ORDER BY ${order} LIMIT ${limit}
    ) AS page
    ORDER BY ${byEnd ? sql`page.ended_at` : sql`page.seconds`} DESC, page.request_id DESC LIMIT ${limit}`;
}

function hasStatus(sql: Sql, status: EndedQuery["status"]) {
  if (status === undefined) return sql``;
  if (status === "success") return sql`AND status_code < 400`;
  if (status === "user_error") return sql`AND status_code >= 400 AND status_code < 500`;
  return sql`AND status_code >= 400 AND status_code >= 500`;
}

const payloads = (sql: Sql): Pick<RequestSearch, "payloads" | "erasePayloads" | "namedElsewhere"> => ({
  async payloads(requestIds) {
    const rows = await answer(
      sql,
      sql<{ request_id: string; job: JobSpec; outcome: Outcome; ended_at: Date }[]>`
        SELECT request_id, job, outcome, ended_at FROM requests
        WHERE request_id = ANY(${requestIds}::uuid[]) AND ended_at IS NOT NULL`,
    );
    return new Map(
      rows.map(({ request_id, job, outcome, ended_at }) => [
        request_id,
        { job, outcome, endedAtMs: ended_at.getTime() },
      ]),
    );
  },

  async erasePayloads(requestId) {
    const [row] = await answer(
      sql,
      sql<{ job: JobSpec; outcome: Outcome }[]>`
        SELECT job, outcome FROM requests WHERE request_id = ${requestId} AND ended_at IS NOT NULL`,
    );
    if (!row) return false;
    const { job, outcome } = withoutPayloads(row.job, row.outcome);
    await answer(
      sql,
      sql`UPDATE requests SET job = ${writeJson(job)}::text::json,
            outcome = ${writeJson(outcome)}::text::json, refs = '{}', payloads_deleted_at = now()
          WHERE request_id = ${requestId} AND ended_at IS NOT NULL`,
    );
    return true;
  },

  async namedElsewhere(sha256s, requestIds) {
    const rows = await answer(
      sql,
      sql<{ sha256: string }[]>`
        SELECT sha256 FROM unnest(${sha256s}::text[]) AS sha256
        WHERE EXISTS (SELECT FROM requests
                      WHERE outcome IS NOT NULL AND artifacts_named(outcome) @> ARRAY[sha256]
                      AND request_id <> ALL(${requestIds}::uuid[]))
        OR EXISTS (SELECT FROM requests WHERE outcome IS NULL AND strpos(job::text, sha256) > 0)`,
    );
    return new Set(rows.map(({ sha256 }) => sha256));
  },
});

const unfinishedRequests = (sql: Sql): Pick<RequestSearch, "unfinished"> => ({
  async unfinished({ endpoints, ownerId }, after, limit) {
    const rows = await answer(
      sql,
      sql<IdentityRow[]>`
        SELECT ${identityColumns(sql)} FROM requests
        WHERE outcome IS NULL AND endpoint = ANY(${endpoints.map(storableText)}::text[])
        ${ownerId === undefined ? sql`` : sql`AND owner_id = ${storableText(ownerId)}`}
        ${after === undefined ? sql`` : sql`AND request_id > ${after}::uuid`}
        ORDER BY request_id LIMIT ${limit}`,
    );
    return rows.map(identityOfRow);
  },
});
