import { writeJson } from "../../../core/json/exact-json.ts";
import { type DeletedKind, type OwnerTimes, RETENTION_FIELDS } from "../../../core/operations/retention.ts";
import type { PurgedRequest, RetentionStore } from "../../../core/operations/retention-store.ts";
import type { JobSpec } from "../../../core/requests/job.ts";
import type { Outcome } from "../../../core/requests/request.ts";
import { answer, type Sql, storableText } from "../connection.ts";
import { type IdentityRow, identityColumns, identityOfRow } from "../requests/request-rows.ts";
import { withoutPayloads } from "../requests/without-payloads.ts";

/** The channel that the table's trigger notifies. */
const CHANNEL = "owner_retention_changed";

interface PurgedRow extends IdentityRow {
  ended_at: Date;
  refs: string[];
}

/** A SQL fragment or statement. */
type Fragment = ReturnType<Sql>;

/** Creates the PostgreSQL store that retention reads and deletes from. */
export function createRetentionStore(sql: Sql): RetentionStore {
  const hasNodeCache = nodeCacheCheck(sql);
  return {
    ...ownerTimes(sql),
    ...endedRequests(sql, hasNodeCache),
    ...payloadsAndLogs(sql),
    ...otherRecords(sql, hasNodeCache),
    ...lookups(sql, hasNodeCache),
    ...files(sql),
    ...totals(sql),
  };
}

/** Returns a check, made once, whether this installation has a cache of node results. */
function nodeCacheCheck(sql: Sql): () => Promise<boolean> {
  let known: boolean | undefined;
  return async () => {
    if (known !== undefined) return known;
    const [row] = await answer(
      sql,
      sql<{ there: boolean }[]>`SELECT to_regclass('node_results') IS NOT NULL AS there`,
    );
    known = row?.there ?? false;
    return known;
  };
}

/**
 * Runs a deletion and counts it in the totals, in one statement.
 *
 * @param deletion a statement that returns a row for each item that it deletes
 */
async function deleteCounted(sql: Sql, kind: DeletedKind, deletion: Fragment): Promise<number> {
  const [row] = await answer(
    sql,
    sql<{ items: number }[]>`
      WITH gone AS (${deletion}), counted AS (
        INSERT INTO retention_totals (kind, day, items)
        SELECT ${kind}, current_date, count(*) FROM gone HAVING count(*) > 0
        ON CONFLICT (kind, day) DO UPDATE SET items = retention_totals.items + excluded.items
      ) SELECT count(*)::integer AS items FROM gone`,
  );
  return row?.items ?? 0;
}

/**
 * Selects those of `keys` that something else than these requests names. A request names its keys in `refs`;
 * a reused node result that is one key has it as its whole output.
 */
async function namedElsewhere(
  sql: Sql,
  hasNodeCache: () => Promise<boolean>,
  keys: string[],
  requestIds: string[] = [],
): Promise<Set<string>> {
  if (keys.length === 0) return new Set();
  const inNodeResult = (await hasNodeCache())
    ? sql`OR EXISTS (SELECT FROM node_results WHERE output::text = '{"ref":"' || key || '"}')`
    : sql``;
  const rows = await answer(
    sql,
    sql<{ key: string }[]>`
      SELECT key FROM unnest(${keys}::text[]) AS key
      WHERE EXISTS (SELECT FROM requests WHERE refs <> '{}' AND refs @> ARRAY[key]
                    AND request_id <> ALL(${requestIds}::uuid[])) ${inNodeResult}`,
  );
  return new Set(rows.map(({ key }) => key));
}

/**
 * Matches requests of an owner that ended before a time and have no webhook pending and no unfinished parent.
 * A request submitted later cannot have ended before: that condition is for the indexes.
 */
const endedBefore = (sql: Sql, ownerId: string, beforeMs: number) => sql`
  owner_id = ${ownerId} AND submitted_at < ${new Date(beforeMs)} AND ended_at < ${new Date(beforeMs)}
  AND NOT EXISTS (SELECT FROM deliveries d WHERE d.request_id = r.request_id AND d.state = 'pending')
  AND NOT EXISTS (SELECT FROM requests p WHERE p.request_id = r.parent_id AND p.outcome IS NULL)`;

/** Names a retention time in the table: `requestMs` is `requestSeconds` there. */
const secondsOf = (field: (typeof RETENTION_FIELDS)[number]): string => field.replace(/Ms$/, "Seconds");

const ownerTimes = (
  sql: Sql,
): Pick<RetentionStore, "nowMs" | "ownerTimes" | "setOwnerTimes" | "onChange"> => ({
  async nowMs() {
    const [row] = await answer(sql, sql<{ now: Date }[]>`SELECT clock_timestamp() AS now`);
    return row?.now.getTime() ?? Number.NEGATIVE_INFINITY;
  },

  async ownerTimes() {
    const rows = await answer(
      sql,
      sql<{ owner_id: string; times: Record<string, number | null> }[]>`
        SELECT owner_id, times FROM owner_retention`,
    );
    return new Map(
      rows.map(({ owner_id, times }) => {
        const own: OwnerTimes = {};
        for (const field of RETENTION_FIELDS) {
          const seconds = times[secondsOf(field)];
          if (seconds !== undefined) own[field] = seconds === null ? null : seconds * 1000;
        }
        return [owner_id, own];
      }),
    );
  },

  async setOwnerTimes(ownerId, times) {
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
      sql`INSERT INTO owner_retention (owner_id, times)
          VALUES (${storableText(ownerId)}, ${writeJson(seconds)}::text::json)
          ON CONFLICT (owner_id) DO UPDATE SET times = excluded.times, updated_at = now()`,
    );
  },

  async onChange(listener) {
    const { unlisten } = await answer(sql, sql.listen(CHANNEL, listener));
    return unlisten;
  },
});

const endedRequests = (
  sql: Sql,
  hasNodeCache: () => Promise<boolean>,
): Pick<RetentionStore, "owners" | "endedRequests" | "deleteRequests" | "endedPayloads"> => {
  const purged = async (query: PromiseLike<PurgedRow[]>): Promise<PurgedRequest[]> => {
    const rows = await answer(sql, query);
    const keys = [...new Set(rows.flatMap(({ refs }) => refs))];
    const ids = rows.map(({ request_id }) => request_id);
    const elsewhere = await namedElsewhere(sql, hasNodeCache, keys, ids);
    return rows.map((row) => ({
      ...identityOfRow(row),
      endedAtMs: row.ended_at.getTime(),
      refs: row.refs.filter((key) => !elsewhere.has(key)),
    }));
  };
  const columns = sql`${identityColumns(sql)}, ended_at, refs`;
  return {
    async owners(after, limit) {
      // One step down an index for each owner, however many requests the owner has.
      const next = (than: Fragment) =>
        sql`SELECT owner_id FROM requests WHERE owner_id > ${than} ORDER BY owner_id LIMIT 1`;
      const first =
        after === undefined ? sql`SELECT min(owner_id) AS owner_id FROM requests` : next(sql`${after}::text`);
      const rows = await answer(
        sql,
        sql<{ owner_id: string }[]>`
          WITH RECURSIVE each AS (
            (${first})
            UNION ALL SELECT (${next(sql`each.owner_id`)}) FROM each WHERE each.owner_id IS NOT NULL
          )
          SELECT owner_id FROM each WHERE owner_id IS NOT NULL LIMIT ${limit}`,
      );
      return rows.map(({ owner_id }) => owner_id);
    },

    endedRequests: (ownerId, beforeMs, limit) =>
      purged(sql<PurgedRow[]>`
        SELECT ${columns} FROM requests r WHERE ${endedBefore(sql, ownerId, beforeMs)}
        ORDER BY submitted_at LIMIT ${limit}`),

    deleteRequests: (requestIds) =>
      deleteCounted(
        sql,
        "request",
        sql`DELETE FROM requests WHERE request_id = ANY(${requestIds}::uuid[]) AND ended_at IS NOT NULL
            RETURNING 1`,
      ),

    endedPayloads: (ownerId, beforeMs, limit) =>
      purged(sql<PurgedRow[]>`
        SELECT ${columns} FROM requests r
        WHERE ${endedBefore(sql, ownerId, beforeMs)} AND payloads_deleted_at IS NULL
        ORDER BY submitted_at LIMIT ${limit}`),
  };
};

const payloadsAndLogs = (sql: Sql): Pick<RetentionStore, "deletePayloads" | "endedLogs" | "deleteLogs"> => ({
  async deletePayloads(requestIds, nowMs) {
    const rows = await answer(
      sql,
      sql<{ request_id: string; job: JobSpec; outcome: Outcome }[]>`
        SELECT request_id, job, outcome FROM requests
        WHERE request_id = ANY(${requestIds}::uuid[]) AND ended_at IS NOT NULL`,
    );
    const ids = rows.map(({ request_id }) => request_id);
    const bare = rows.map(({ job, outcome }) => withoutPayloads(job, outcome));
    const jobs = bare.map(({ job }) => writeJson(job));
    const outcomes = bare.map(({ outcome }) => writeJson(outcome));
    return deleteCounted(
      sql,
      "payload",
      sql`
        UPDATE requests r SET job = b.job::json, outcome = b.outcome::json, refs = '{}',
          payloads_deleted_at = ${new Date(nowMs)}
        FROM unnest(${ids}::uuid[], ${jobs}::text[], ${outcomes}::text[]) AS b(request_id, job, outcome)
        WHERE r.request_id = b.request_id AND r.payloads_deleted_at IS NULL RETURNING 1`,
    );
  },

  async endedLogs(ownerId, beforeMs, limit) {
    const rows = await answer(
      sql,
      sql<{ request_id: string }[]>`
        SELECT request_id FROM requests r
        WHERE ${endedBefore(sql, ownerId, beforeMs)} AND log_words IS NOT NULL
        ORDER BY submitted_at LIMIT ${limit}`,
    );
    return rows.map(({ request_id }) => request_id);
  },

  deleteLogs: (requestIds) =>
    deleteCounted(
      sql,
      "log",
      sql`UPDATE requests SET logs = '[]', log_words = NULL
          WHERE request_id = ANY(${requestIds}::uuid[]) AND ended_at IS NOT NULL AND log_words IS NOT NULL
          RETURNING 1`,
    ),
});

const otherRecords = (
  sql: Sql,
  hasNodeCache: () => Promise<boolean>,
): Pick<RetentionStore, "deleteUsage" | "deleteCachedResults"> => ({
  deleteUsage: (beforeMs, limit) =>
    deleteCounted(
      sql,
      "usage",
      sql`DELETE FROM usage WHERE request_id IN (
            SELECT request_id FROM usage WHERE ended_at < ${new Date(beforeMs)}
            ORDER BY ended_at LIMIT ${limit}
          ) RETURNING 1`,
    ),

  async deleteCachedResults(nowMs, limit) {
    if (!(await hasNodeCache())) return 0;
    return deleteCounted(
      sql,
      "cached result",
      sql`DELETE FROM node_results WHERE key IN (
            SELECT key FROM node_results WHERE expires_at <= ${new Date(nowMs)}
            ORDER BY expires_at LIMIT ${limit}
          ) RETURNING 1`,
    );
  },
});

const lookups = (
  sql: Sql,
  hasNodeCache: () => Promise<boolean>,
): Pick<RetentionStore, "named" | "artifactsInUse" | "recorded" | "undelivered"> => ({
  named: (keys, requestIds) => namedElsewhere(sql, hasNodeCache, keys, requestIds),

  async artifactsInUse(keys) {
    if (keys.length === 0) return new Set();
    const inNodeResult = (await hasNodeCache())
      ? sql`OR EXISTS (SELECT FROM node_results
                       WHERE array_to_string(files, ' ') LIKE '%' || substr(key, 11) || '%')`
      : sql``;
    const rows = await answer(
      sql,
      sql<{ key: string }[]>`
        SELECT key FROM unnest(${keys}::text[]) AS key
        WHERE EXISTS (SELECT FROM requests WHERE outcome IS NULL AND strpos(job::text, substr(key, 11)) > 0)
        ${inNodeResult}`,
    );
    return new Set(rows.map(({ key }) => key));
  },

  async recorded(requestIds) {
    const rows = await answer(
      sql,
      sql<{ request_id: string; ended: boolean }[]>`
        SELECT request_id, ended_at IS NOT NULL AS ended
        FROM requests WHERE request_id = ANY(${requestIds}::uuid[])`,
    );
    return new Map(rows.map(({ request_id, ended }) => [request_id, { ended }]));
  },

  async undelivered(requestIds) {
    const rows = await answer(
      sql,
      sql<{ request_id: string }[]>`
        SELECT request_id FROM deliveries WHERE request_id = ANY(${requestIds}::uuid[]) AND state = 'pending'
        UNION ALL
        SELECT request_id FROM requests r
        WHERE request_id = ANY(${requestIds}::uuid[]) AND strpos(job::text, '"webhook":{') > 0
          AND NOT EXISTS (SELECT FROM deliveries d WHERE d.request_id = r.request_id)
        UNION ALL
        SELECT r.request_id FROM requests r JOIN requests p ON p.request_id = r.parent_id
        WHERE r.request_id = ANY(${requestIds}::uuid[]) AND p.outcome IS NULL`,
    );
    return new Set(rows.map(({ request_id }) => request_id));
  },
});

const files = (sql: Sql): Pick<RetentionStore, "storedFiles" | "fileKeys"> => ({
  async storedFiles(after, limit) {
    const rows = await answer(
      sql,
      sql<{ file_id: string; object_key: string }[]>`
        SELECT file_id, object_key FROM files
        WHERE etag IS NOT NULL ${after === undefined ? sql`` : sql`AND file_id > ${after}`}
        ORDER BY file_id LIMIT ${limit}`,
    );
    return rows.map(({ file_id, object_key }) => ({ fileId: file_id, objectKey: object_key }));
  },

  async fileKeys(objectKeys) {
    // In `files/ab/ab12…-<writer>`, the digits before the hyphen are the file's id, the primary key.
    const ids = objectKeys.map((key) => /([0-9a-f]{32})-[^/]*$/.exec(key)?.[1] ?? "");
    const rows = await answer(
      sql,
      sql<{ object_key: string }[]>`
        SELECT object_key FROM files WHERE file_id = ANY(${ids}) AND object_key = ANY(${objectKeys})`,
    );
    return new Set(rows.map(({ object_key }) => object_key));
  },
});

const totals = (sql: Sql): Pick<RetentionStore, "count" | "totals"> => ({
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
});
