import type { LoggedEvent } from "../../../core/requests/events.ts";
import type { FoundLine, LineCursor, LogSearch } from "../../../core/requests/log-search.ts";
import { isRequestId } from "../../../core/requests/request.ts";
import { answer, type Sql, storableText } from "../connection.ts";

interface LineRow {
  request_id: string;
  owner_id: string;
  endpoint: string;
  version: string;
  submitted_at: Date;
  line: LoggedEvent;
  n: string;
}

/**
 * Creates the search in log lines by PostgreSQL's full text search. `RequestStore.finish` writes the searched
 * words of a request's lines beside them.
 */
export function createPostgresLogSearch(sql: Sql): LogSearch {
  return {
    async search({ startMs, endMs, ownerId, requestId, app, version, levels, words, limit, before }) {
      if (requestId !== undefined && !isRequestId(requestId)) return { lines: [] };
      const query = words === undefined ? undefined : sql`plainto_tsquery('simple', ${storableText(words)})`;
      const messageWords = sql`to_tsvector('simple', l.line->'event'->>'message')`;
      const cursor =
        before && sql`(${new Date(before.submittedAtMs)}, ${before.requestId}::uuid, ${before.line}::bigint)`;
      // Conditions on the request use an index; those on the line apply to the lines of the few requests
      // found.
      const rows = await answer(
        sql,
        sql<LineRow[]>`
        SELECT r.request_id, r.owner_id, r.endpoint, r.version, r.submitted_at, l.line, l.n
        FROM requests r CROSS JOIN LATERAL json_array_elements(r.logs) WITH ORDINALITY AS l(line, n)
        WHERE r.log_words IS NOT NULL
          AND r.submitted_at <= ${new Date(endMs)} AND r.ended_at >= ${new Date(startMs)}
          ${ownerId === undefined ? sql`` : sql`AND r.owner_id = ${storableText(ownerId)}`}
          ${requestId === undefined ? sql`` : sql`AND r.request_id = ${requestId}`}
          ${app === undefined ? sql`` : isInApp(sql, app)}
          ${version === undefined ? sql`` : sql`AND r.version = ${storableText(version)}`}
          ${query === undefined ? sql`` : sql`AND r.log_words @@ ${query}`}
          AND (l.line->>'atMs')::bigint BETWEEN ${startMs}::bigint AND ${endMs}::bigint
          ${levels === undefined ? sql`` : sql`AND l.line->'event'->>'level' = ANY(${levels})`}
          ${query === undefined ? sql`` : sql`AND ${messageWords} @@ ${query}`}
          ${
            cursor === undefined
              ? sql``
              : sql`AND r.submitted_at <= ${new Date(before?.submittedAtMs ?? 0)}
                    AND (r.submitted_at, r.request_id, l.n) < ${cursor}`
          }
        ORDER BY r.submitted_at DESC, r.request_id DESC, l.n DESC LIMIT ${limit + 1}`,
      );
      const found = rows.slice(0, limit);
      const last = found.at(-1);
      const next: LineCursor | undefined = last && {
        submittedAtMs: last.submitted_at.getTime(),
        requestId: last.request_id,
        line: Number(last.n),
      };
      return { lines: found.flatMap(lineOf), ...(rows.length > limit && next && { next }) };
    },

    // Lines are written and deleted with their request's record.
    index: async () => {},
    remove: async () => {},
  };
}

const isInApp = (sql: Sql, app: string) => sql`
  AND (r.endpoint = ${storableText(app)} OR starts_with(r.endpoint, ${`${storableText(app)}/`}))`;

function lineOf({
  request_id,
  owner_id,
  endpoint,
  version,
  line: { id, atMs, event },
}: LineRow): FoundLine[] {
  if (event.type !== "log") return [];
  const { attempt, level, message } = event;
  return [{ requestId: request_id, ownerId: owner_id, endpoint, version, attempt, level, message, id, atMs }];
}
