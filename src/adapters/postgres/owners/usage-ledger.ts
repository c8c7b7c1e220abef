import { writeJson } from "../../../core/json/exact-json.ts";
import { type UsageEntry, usageOf } from "../../../core/owners/usage.ts";
import type {
  UsageBucket,
  UsageLedger,
  UsageQuery,
  UsageSum,
  UsageTotal,
} from "../../../core/owners/usage-ledger.ts";
import type { JobSpec } from "../../../core/requests/job.ts";
import type { Outcome } from "../../../core/requests/request.ts";
import { answer, type Sql, storableText } from "../connection.ts";
import { usageInsert } from "./usage-insert.ts";

interface UsageRow {
  request_id: string;
  parent_id: string | null;
  owner_id: string;
  key_id: string;
  endpoint: string;
  version: string;
  ended_at: Date;
  ok: boolean;
  units: string;
  unit: string;
  unit_price: string;
  currency: string;
  device_seconds: number;
  attempts: number;
  attempts_uncounted: number;
}

const entryOf = (row: UsageRow): UsageEntry => ({
  requestId: row.request_id,
  ...(row.parent_id !== null && { parentId: row.parent_id }),
  ownerId: row.owner_id,
  keyId: row.key_id,
  endpoint: row.endpoint,
  version: row.version,
  endedAtMs: row.ended_at.getTime(),
  ok: row.ok,
  units: Number(row.units),
  price: { unit: row.unit, unitPrice: Number(row.unit_price), currency: row.currency },
  deviceSeconds: row.device_seconds,
  attempts: row.attempts,
  attemptsUncounted: row.attempts_uncounted,
});

interface SumRow {
  endpoint: string;
  unit: string;
  unit_price: string;
  currency: string;
  quantity: string;
  cost: string;
  requests: string;
  results: string;
  device_seconds: number;
  attempts: string;
  attempts_uncounted: string;
}

const sumOf = (row: SumRow): UsageSum => ({
  endpoint: row.endpoint,
  unit: row.unit,
  unitPrice: Number(row.unit_price),
  currency: row.currency,
  quantity: Number(row.quantity),
  cost: Number(row.cost),
  requests: Number(row.requests),
  results: Number(row.results),
  deviceSeconds: row.device_seconds,
  attempts: Number(row.attempts),
  attemptsUncounted: Number(row.attempts_uncounted),
});

/** The field of a stored difference that holds its description. */
const STORED_DESCRIPTION = "says";

interface CheckRow {
  checked_at: Date;
  from_at: Date;
  until_at: Date;
  workflows: number;
  written: number;
  differences: ({ requestId: string } & Record<typeof STORED_DESCRIPTION, string>)[];
}

/** Creates the PostgreSQL usage ledger. */
export function createUsageLedger(sql: Sql): UsageLedger {
  return { ...reports(sql), ...reconciliation(sql), ...checks(sql) };
}

const endedWithin = (sql: Sql, { startMs, endMs }: UsageQuery) =>
  sql`ended_at >= ${new Date(startMs)} AND ended_at < ${new Date(endMs)}`;

/** @param during a condition in place of the query's own times */
const matches = (
  sql: Sql,
  { ownerId, endpoints, keyIds, requestIds, ...times }: UsageQuery,
  during = endedWithin(sql, times),
) => sql`
  ${during}
  ${ownerId === undefined ? sql`` : sql`AND owner_id = ${storableText(ownerId)}`}
  ${endpoints === undefined ? sql`` : sql`AND endpoint = ANY(${endpoints.map(storableText)})`}
  ${keyIds === undefined ? sql`` : sql`AND key_id = ANY(${keyIds.map(storableText)})`}
  ${requestIds === undefined ? sql`` : sql`AND request_id = ANY(${requestIds}::uuid[])`}`;

const sumColumns = (sql: Sql) => sql`
  endpoint, unit, unit_price, currency, sum(units) AS quantity, sum(units * unit_price) AS cost,
  count(*) AS requests, count(*) FILTER (WHERE ok) AS results, sum(device_seconds) AS device_seconds,
  sum(attempts) AS attempts, sum(attempts_uncounted) AS attempts_uncounted`;

const reports = (sql: Sql): Pick<UsageLedger, "entries" | "buckets" | "totals"> => ({
  async entries({ limit, before, ...query }) {
    const older =
      before === undefined
        ? sql``
        : sql`AND (ended_at, request_id) < (${new Date(before.atMs)}, ${before.requestId}::uuid)`;
    const rows = await answer(
      sql,
      sql<UsageRow[]>`
        SELECT * FROM usage WHERE ${matches(sql, query)} ${older}
        ORDER BY ended_at DESC, request_id DESC LIMIT ${limit}`,
    );
    return rows.map(entryOf);
  },

  async buckets({ timeframe, timezone, widen = false, limit, ...query }) {
    const [start, end] = [new Date(query.startMs), new Date(query.endMs - 1)];
    const afterLast = sql`
      (date_trunc(${timeframe}, ${end}::timestamptz, ${timezone}) AT TIME ZONE ${timezone}
       + ${`1 ${timeframe}`}::interval) AT TIME ZONE ${timezone}`;
    const wholeBuckets = sql`
      ended_at >= date_trunc(${timeframe}, ${start}::timestamptz, ${timezone}) AND ended_at < ${afterLast}`;
    const rows = await answer(
      sql,
      sql<(SumRow & { bucket: Date })[]>`
        SELECT date_trunc(${timeframe}, ended_at, ${timezone}) AS bucket, ${sumColumns(sql)} FROM usage
        WHERE ${widen ? matches(sql, query, wholeBuckets) : matches(sql, query)}
        GROUP BY bucket, endpoint, unit, unit_price, currency
        ORDER BY bucket, endpoint, unit, unit_price LIMIT ${limit}`,
    );
    return rows.map((row): UsageBucket => ({ atMs: row.bucket.getTime(), ...sumOf(row) }));
  },

  async totals({ limit, ...query }) {
    const rows = await answer(
      sql,
      sql<(SumRow & { owner_id: string; day: string })[]>`
        SELECT owner_id, to_char(ended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, ${sumColumns(sql)}
        FROM usage WHERE ${matches(sql, query)}
        GROUP BY owner_id, day, endpoint, unit, unit_price, currency
        ORDER BY day DESC, owner_id, endpoint, unit, unit_price LIMIT ${limit}`,
    );
    return rows.map((row): UsageTotal => ({ ownerId: row.owner_id, day: row.day, ...sumOf(row) }));
  },
});

const reconciliation = (sql: Sql): Pick<UsageLedger, "known" | "writeMissing"> => ({
  async known(requestIds) {
    if (requestIds.length === 0) return new Map();
    const rows = await answer(
      sql,
      sql<{ request_id: string; ok: boolean }[]>`
        SELECT request_id, ok FROM usage WHERE request_id = ANY(${requestIds}::uuid[])`,
    );
    return new Map(rows.map(({ request_id, ok }) => [request_id, ok]));
  },

  async writeMissing({ fromMs, untilMs }, limit) {
    // One endpoint after another, since the index of ended requests begins with the endpoint.
    const rows = await answer(
      sql,
      sql<{ request_id: string; job: JobSpec; outcome: Outcome; attempts: number; ended_at: Date }[]>`
        WITH RECURSIVE each AS (
          (SELECT min(endpoint) AS endpoint FROM requests WHERE ended_at IS NOT NULL)
          UNION ALL
          SELECT (SELECT endpoint FROM requests WHERE ended_at IS NOT NULL AND endpoint > each.endpoint
                  ORDER BY endpoint LIMIT 1)
          FROM each WHERE each.endpoint IS NOT NULL
        )
        SELECT request_id, job, outcome, attempts, ended_at FROM each CROSS JOIN LATERAL (
          SELECT request_id, job, outcome, attempts, ended_at FROM requests
          WHERE endpoint = each.endpoint AND ended_at IS NOT NULL
            AND ended_at >= ${new Date(fromMs)} AND ended_at < ${new Date(untilMs)}
        ) AS r
        WHERE NOT EXISTS (SELECT FROM usage u WHERE u.request_id = r.request_id)
        LIMIT ${limit}`,
    );
    for (const { job, outcome, attempts, ended_at } of rows)
      await answer(sql, usageInsert(sql, usageOf({ job, outcome, attempts, endedAtMs: ended_at.getTime() })));
    return rows.map(({ request_id }) => request_id);
  },
});

const checks = (sql: Sql): Pick<UsageLedger, "recordCheck" | "checks"> => ({
  async recordCheck({ checkedAtMs, fromMs, untilMs, workflows, written, differences }) {
    const found = writeJson(
      differences.map(({ requestId, description }) => ({
        requestId,
        [STORED_DESCRIPTION]: storableText(description),
      })),
    );
    await answer(
      sql,
      sql`INSERT INTO usage_checks (checked_at, from_at, until_at, workflows, written, differences)
          VALUES (${new Date(checkedAtMs)}, ${new Date(fromMs)}, ${new Date(untilMs)}, ${workflows},
                  ${written}, ${found}::text::json)
          ON CONFLICT (until_at, from_at) DO UPDATE
            SET checked_at = excluded.checked_at, workflows = excluded.workflows,
                written = usage_checks.written + excluded.written, differences = excluded.differences`,
    );
  },

  async checks(limit) {
    const rows = await answer(
      sql,
      sql<CheckRow[]>`SELECT * FROM usage_checks ORDER BY until_at DESC, from_at DESC LIMIT ${limit}`,
    );
    return rows.map(({ checked_at, from_at, until_at, workflows, written, differences }) => ({
      checkedAtMs: checked_at.getTime(),
      fromMs: from_at.getTime(),
      untilMs: until_at.getTime(),
      workflows,
      written,
      differences: differences.map(({ requestId, [STORED_DESCRIPTION]: description }) => ({
        requestId,
        description,
      })),
    }));
  },
});
