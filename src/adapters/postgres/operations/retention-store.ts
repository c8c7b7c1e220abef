import type { JobSpec } from "../../../core/requests/job.ts";
import type { RetentionStore, RetiredRequest } from "../../../core/operations/retention-store.ts";
import type { Outcome, Priority } from "../../../core/requests/request.ts";
import { type DeletedKind, type OwnTimes, RETENTION_FIELDS } from "../../../core/operations/retention.ts";
import { answer, type Sql, storableText } from "../connection.ts";
import { withoutPayloads } from "../requests/without-payloads.ts";

/** The channel of the trigger in the migration that made the table. */
const CHANNEL = "owner_retention_changed";

interface RetiredRow {
  request_id: string;
  owner_id: string;
  endpoint: string;
  version: string;
  task_queue: string;
  priority: Priority;
  ended_at: Date;
  refs: string[];
}

/** `requestMs` is `requestSeconds` in the table. */
const secondsOf = (field: (typeof RETENTION_FIELDS)[number]): string => field.replace(/Ms$/, "Seconds");

/** What retention reads and deletes, in Postgres. */
export function createRetentionStore(sql: Sql): RetentionStore {
  const countedFrom = (kind: DeletedKind) => sql`
    counted AS (
      INSERT INTO retention_totals (kind, day, items) SELECT ${kind}, current_date, count(*) FROM gone HAVING count(*) > 0
      ON CONFLICT (kind, day) DO UPDATE SET items = retention_totals.items + excluded.items
    )`;
  /** Counts what a statement deletes, within it. @param gone a statement that returns a row for each */
  const counted = (kind: DeletedKind, gone: ReturnType<typeof sql>) => sql<{ items: number }[]>`
    WITH gone AS (${gone}), ${countedFrom(kind)} SELECT count(*)::integer AS items FROM gone`;
  const deleted = async (kind: DeletedKind, gone: ReturnType<typeof sql>): Promise<number> => {
    const [row] = await answer(sql, counted(kind, gone));
    return row?.items ?? 0;
  };
  let known: boolean | undefined;
  /** Whether results of nodes are kept here at all. */
  const hasCache = async (): Promise<boolean> => {
    if (known !== undefined) return known;
    const [row] = await answer(
      sql,
      sql<{ there: boolean }[]>`SELECT to_regclass('node_results') IS NOT NULL AS there`,
    );
    known = row?.there ?? false;
    return known;
  };

  /**
   * Of these keys, those that something else than these requests names. A record names its keys beside its
   * JSON; a kept result as all it is.
   */
  const namedElsewhere = async (keys: string[], requestIds: string[] = []): Promise<Set<string>> => {
    if (keys.length === 0) return new Set();
    const kept = (await hasCache())
      ? sql`OR EXISTS (SELECT FROM node_results WHERE output::text = '{"ref":"' || key || '"}')`
      : sql``;
    const rows = await answer(
      sql,
      sql<{ key: string }[]>`
        SELECT key FROM unnest(${keys}::text[]) AS key
        WHERE EXISTS (SELECT FROM requests WHERE refs <> '{}' AND refs @> ARRAY[key] AND request_id <> ALL(${requestIds}::uuid[])) ${kept}`,
    );
    return new Set(rows.map(({ key }) => key));
  };
  const retired = async (rows: RetiredRow[]): Promise<RetiredRequest[]> => {
    const ids = rows.map(({ request_id }) => request_id);
    const elsewhere = await namedElsewhere([...new Set(rows.flatMap(({ refs }) => refs))], ids);
    return rows.map((row) => ({
      requestId: row.request_id,
      ownerId: row.owner_id,
      endpoint: row.endpoint,
      version: row.version,
      taskQueue: row.task_queue,
      priority: row.priority,
      endedAtMs: row.ended_at.getTime(),
      refs: row.refs.filter((key) => !elsewhere.has(key)),
    }));
  };
  /**
   * Ended, and nobody is on the way with it. What was submitted later cannot have ended before: that is what
   * the indexes are by.
   */
  const endedBefore = (ownerId: string, beforeMs: number) => sql`
    owner_id = ${ownerId} AND submitted_at < ${new Date(beforeMs)} AND ended_at < ${new Date(beforeMs)}
    AND NOT EXISTS (SELECT FROM deliveries d WHERE d.request_id = r.request_id AND d.state = 'pending')
    AND NOT EXISTS (SELECT FROM requests p WHERE p.request_id = r.parent_id AND p.outcome IS NULL)`;
  const identity = sql`request_id, owner_id, endpoint, version, task_queue, priority, ended_at, refs`;

  return {
    async nowMs() {
      const [row] = await answer(sql, sql<{ now: Date }[]>`SELECT clock_timestamp() AS now`);
      return row?.now.getTime() ?? Number.NEGATIVE_INFINITY;
    },

    async ownTimes() {
      const rows = await answer(
        sql,
        sql<
          { owner_id: string; times: Record<string, number | null> }[]
        >`SELECT owner_id, times FROM owner_retention`,
      );
      return new Map(
        rows.map(({ owner_id, times }) => {
          const own: OwnTimes = {};
          for (const field of RETENTION_FIELDS) {
            const seconds = times[secondsOf(field)];
            if (seconds !== undefined) own[field] = seconds === null ? null : seconds * 1000;
          }
          return [owner_id, own];
        }),
      );
    },

    async setOwnTimes(ownerId, times) {
      if (times === undefined) {
        await answer(sql, sql`DELETE FROM owner_retention WHERE owner_id = ${storableText(ownerId)}`);
        return;
      }
      const seconds = Object.fromEntries(
        RETENTION_FIELDS.flatMap((field) => {
          const ms = times[field];
          return ms === undefined ? [] : [[secondsOf(field), ms === null ? null : ms / 1000]];
        }),
      );
      await answer(
        sql,
        sql`INSERT INTO owner_retention (owner_id, times) VALUES (${storableText(ownerId)}, ${JSON.stringify(seconds)}::text::json)
            ON CONFLICT (owner_id) DO UPDATE SET times = excluded.times, updated_at = now()`,
      );
    },

    async onChange(listener) {
      const { unlisten } = await answer(sql, sql.listen(CHANNEL, listener));
      return unlisten;
    },

    async owners(after, limit) {
      // One step down an index for each owner, however many requests each has.
      const next = (than: ReturnType<typeof sql>) =>
        sql`SELECT owner_id FROM requests WHERE owner_id > ${than} ORDER BY owner_id LIMIT 1`;
      const rows = await answer(
        sql,
        sql<{ owner_id: string }[]>`
          WITH RECURSIVE each AS (
            (${after === undefined ? sql`SELECT min(owner_id) AS owner_id FROM requests` : next(sql`${after}::text`)})
            UNION ALL SELECT (${next(sql`each.owner_id`)}) FROM each WHERE each.owner_id IS NOT NULL
          )
          SELECT owner_id FROM each WHERE owner_id IS NOT NULL LIMIT ${limit}`,
      );
      return rows.map(({ owner_id }) => owner_id);
    },

    async endedRequests(ownerId, beforeMs, limit) {
      const rows = await answer(
        sql,
        sql<
          RetiredRow[]
        >`SELECT ${identity} FROM requests r WHERE ${endedBefore(ownerId, beforeMs)} ORDER BY submitted_at LIMIT ${limit}`,
      );
      return retired([...rows]);
    },

    deleteRequests: (requestIds) =>
      deleted(
        "request",
        sql`DELETE FROM requests WHERE request_id = ANY(${requestIds}::uuid[]) AND ended_at IS NOT NULL RETURNING 1`,
      ),

    async endedPayloads(ownerId, beforeMs, limit) {
      const rows = await answer(
        sql,
        sql<RetiredRow[]>`
          SELECT ${identity} FROM requests r WHERE ${endedBefore(ownerId, beforeMs)} AND payloads_deleted_at IS NULL
          ORDER BY submitted_at LIMIT ${limit}`,
      );
      return retired([...rows]);
    },

    async deletePayloads(requestIds, nowMs) {
      const rows = await answer(
        sql,
        sql<{ request_id: string; job: JobSpec; outcome: Outcome }[]>`
          SELECT request_id, job, outcome FROM requests WHERE request_id = ANY(${requestIds}::uuid[]) AND ended_at IS NOT NULL`,
      );
      const bare = rows.map(({ job, outcome }) => withoutPayloads(job, outcome));
      return deleted(
        "payload",
        sql`
          UPDATE requests r SET job = b.job::json, outcome = b.outcome::json, refs = '{}', payloads_deleted_at = ${new Date(nowMs)}
          FROM unnest(${rows.map(({ request_id }) => request_id)}::uuid[], ${bare.map(({ job }) => JSON.stringify(job))}::text[],
                      ${bare.map(({ outcome }) => JSON.stringify(outcome))}::text[]) AS b(request_id, job, outcome)
          WHERE r.request_id = b.request_id AND r.payloads_deleted_at IS NULL RETURNING 1`,
      );
    },

    async endedLogs(ownerId, beforeMs, limit) {
      const rows = await answer(
        sql,
        sql<{ request_id: string }[]>`
          SELECT request_id FROM requests r WHERE ${endedBefore(ownerId, beforeMs)} AND log_words IS NOT NULL
          ORDER BY submitted_at LIMIT ${limit}`,
      );
      return rows.map(({ request_id }) => request_id);
    },

    deleteLogs: (requestIds) =>
      deleted(
        "log",
        sql`UPDATE requests SET logs = '[]', log_words = NULL
            WHERE request_id = ANY(${requestIds}::uuid[]) AND ended_at IS NOT NULL AND log_words IS NOT NULL RETURNING 1`,
      ),

    deleteUsage: (beforeMs, limit) =>
      deleted(
        "usage",
        sql`DELETE FROM usage WHERE request_id IN (
              SELECT request_id FROM usage WHERE ended_at < ${new Date(beforeMs)} ORDER BY ended_at LIMIT ${limit}) RETURNING 1`,
      ),

    async deleteCachedResults(nowMs, limit) {
      if (!(await hasCache())) return 0;
      return deleted(
        "cached result",
        sql`DELETE FROM node_results WHERE key IN (
              SELECT key FROM node_results WHERE expires_at <= ${new Date(nowMs)} ORDER BY expires_at LIMIT ${limit}) RETURNING 1`,
      );
    },

    named: namedElsewhere,

    async artifactsInUse(keys) {
      if (keys.length === 0) return new Set();
      const kept = (await hasCache())
        ? sql`OR EXISTS (SELECT FROM node_results WHERE array_to_string(files, ' ') LIKE '%' || substr(key, 11) || '%')`
        : sql``;
      const rows = await answer(
        sql,
        sql<{ key: string }[]>`
          SELECT key FROM unnest(${keys}::text[]) AS key
          WHERE EXISTS (SELECT FROM requests WHERE outcome IS NULL AND strpos(job::text, substr(key, 11)) > 0) ${kept}`,
      );
      return new Set(rows.map(({ key }) => key));
    },

    async recorded(requestIds) {
      const rows = await answer(
        sql,
        sql<{ request_id: string; ended: boolean }[]>`
          SELECT request_id, ended_at IS NOT NULL AS ended FROM requests WHERE request_id = ANY(${requestIds}::uuid[])`,
      );
      return new Map(rows.map(({ request_id, ended }) => [request_id, { ended }]));
    },

    async undelivered(requestIds) {
      const rows = await answer(
        sql,
        sql<{ request_id: string }[]>`
          SELECT request_id FROM deliveries WHERE request_id = ANY(${requestIds}::uuid[]) AND state = 'pending'
          UNION ALL
          SELECT request_id FROM requests r WHERE request_id = ANY(${requestIds}::uuid[]) AND strpos(job::text, '"webhook":{') > 0
            AND NOT EXISTS (SELECT FROM deliveries d WHERE d.request_id = r.request_id)
          UNION ALL
          SELECT r.request_id FROM requests r JOIN requests p ON p.request_id = r.parent_id
          WHERE r.request_id = ANY(${requestIds}::uuid[]) AND p.outcome IS NULL`,
      );
      return new Set(rows.map(({ request_id }) => request_id));
    },

    async storedFiles(after, limit) {
      const rows = await answer(
        sql,
        sql<{ file_id: string; object_key: string }[]>`
          SELECT file_id, object_key FROM files WHERE etag IS NOT NULL ${after === undefined ? sql`` : sql`AND file_id > ${after}`}
          ORDER BY file_id LIMIT ${limit}`,
      );
      return rows.map(({ file_id, object_key }) => ({ fileId: file_id, objectKey: object_key }));
    },

    async fileKeys(objectKeys) {
      // `files/ab/ab12…-<writer>`: the file's id is in the key, and it is the primary key.
      const ids = objectKeys.map((key) => /([0-9a-f]{32})-[^/]*$/.exec(key)?.[1] ?? "");
      const rows = await answer(
        sql,
        sql<
          { object_key: string }[]
        >`SELECT object_key FROM files WHERE file_id = ANY(${ids}) AND object_key = ANY(${objectKeys})`,
      );
      return new Set(rows.map(({ object_key }) => object_key));
    },

    async count(kind, items) {
      if (items === 0) return;
      await answer(
        sql,
        sql`INSERT INTO retention_totals (kind, day, items) VALUES (${kind}, current_date, ${items})
            ON CONFLICT (kind, day) DO UPDATE SET items = retention_totals.items + excluded.items`,
      );
    },

    async totals() {
      const rows = await answer(
        sql,
        sql<{ kind: DeletedKind; items: string; today: string }[]>`
          SELECT kind, sum(items) AS items, COALESCE(sum(items) FILTER (WHERE day = current_date), 0) AS today
          FROM retention_totals GROUP BY kind ORDER BY kind`,
      );
      return rows.map(({ kind, items, today }) => ({
        kind,
        items: Number(items),
        itemsToday: Number(today),
      }));
    },
  };
}
