/**
 * Measures the list of requests as the table grows: its first page with ten thousand records, and with a
 * million.
 */
import { connectPostgres, type Sql } from "../../src/adapters/postgres/connection.ts";
import { migrate } from "../../src/adapters/postgres/migrate.ts";
import { createRequestSearch } from "../../src/adapters/postgres/requests/request-search.ts";
import type { EndedQuery, RequestSearch } from "../../src/core/requests/request-search.ts";
import { percentile, round } from "./harness.ts";

const ENDPOINTS = 5;
const OWNERS = 50;

/**
 * Adds ended requests up to `records`, a few milliseconds apart; one in fifty failed.
 */
export async function fillRequests(sql: Sql, records: number): Promise<void> {
  const [{ existing } = { existing: 0 }] = await sql<
    { existing: number }[]
  >`SELECT count(*)::integer AS existing FROM requests`;
  if (existing >= records) return;
  await sql`
    INSERT INTO requests (request_id, owner_id, key_id, endpoint, version, task_queue, priority, job,
                          submitted_at, started_at, ended_at, attempts, outcome, logs, status_code)
    SELECT gen_random_uuid(), 'owner-' || n % ${OWNERS}::integer, 'key',
           'bench/model-' || n % ${ENDPOINTS}::integer, '1.0.0', 'gpu/bench/model/1.0.0', 'normal',
           json_build_object('input',
             json_build_object('inline', json_build_object('prompt', repeat('p', 100)))),
           ended - interval '2 seconds', ended - (n % 97) * interval '10 milliseconds', ended, 1,
           CASE WHEN n % 50 = 0
                THEN '{"ok":false,"error":{"code":"input_invalid","message":"x"},"metrics":{}}'::json
                ELSE json_build_object('ok', true, 'output',
                       json_build_object('inline', json_build_object('images', repeat('o', 200))),
                       'metrics', '{}'::json) END,
           '[]', CASE WHEN n % 50 = 0 THEN 422 ELSE 200 END
    FROM generate_series(${existing}::integer + 1, ${records}::integer) AS n,
         LATERAL (SELECT date_trunc('milliseconds', now()) - n * interval '50 milliseconds' AS ended) AS at`;
  await sql`VACUUM ANALYZE requests`;
}

/** Queries for each kind of first page, of the last day. */
function pagesAt(nowMs: number): Record<string, EndedQuery> {
  const day = { startMs: nowMs - 24 * 3600 * 1000, endMs: nowMs + 60_000, limit: 51 };
  return {
    newest: { ...day, endpoints: ["bench/model-1"], sortBy: "ended_at" },
    "newest of one owner": { ...day, endpoints: ["bench/model-1"], ownerId: "owner-1", sortBy: "ended_at" },
    "newest of five endpoints": {
      ...day,
      endpoints: Array.from({ length: ENDPOINTS }, (_, n) => `bench/model-${n}`),
      sortBy: "ended_at",
    },
    failed: { ...day, endpoints: ["bench/model-0"], status: "user_error", sortBy: "ended_at" },
    longest: { ...day, endpoints: ["bench/model-1"], sortBy: "duration" },
  };
}

export interface RequestPages {
  /**
   * By kind of page: p95 in milliseconds with few records and with many, and the ratio of many to few.
   */
  pages: Record<string, { few_ms: number; many_ms: number; times: number }>;
  /** The ratio of the page that the check is about: the list's first page by default. */
  newest_times: number;
}

/**
 * Fills two databases and reads the same pages of both alternately, so that other load of the machine falls
 * on both.
 *
 * @param databaseUrl a server that permits to create databases
 */
export async function measureRequestPages(
  databaseUrl: string,
  { few = 10_000, many = 1_000_000, rounds = 400 }: { few?: number; many?: number; rounds?: number } = {},
): Promise<RequestPages> {
  const admin = connectPostgres(databaseUrl, { maxConnections: 1 });
  const filled: { name: string; sql: Sql; search: RequestSearch }[] = [];
  try {
    for (const [side, records] of Object.entries({ few, many })) {
      const name = `bench_requests_${side}_${Date.now()}`;
      await admin`CREATE DATABASE ${admin(name)}`;
      const url = Object.assign(new URL(databaseUrl), { pathname: `/${name}` }).href;
      await migrate(url);
      const sql = connectPostgres(url, { maxConnections: 1 });
      filled.push({ name, sql, search: createRequestSearch(sql) });
      await fillRequests(sql, records);
    }
    await admin`CHECKPOINT`;
    const pages: RequestPages["pages"] = {};
    for (const [name, query] of Object.entries(pagesAt(Date.now()))) {
      const times: number[][] = filled.map(() => []);
      for (let i = -20; i < rounds; i++) {
        for (const [side, { search }] of filled.entries()) {
          const startedAtMs = performance.now();
          const found = await search.ended(query);
          if (found.length === 0) throw new Error(`${name}: the page is empty`);
          if (i >= 0) times[side]?.push(performance.now() - startedAtMs);
        }
      }
      const [fewMs = 0, manyMs = 0] = times.map((ofSide) => percentile(ofSide, 95));
      pages[name] = { few_ms: round(fewMs), many_ms: round(manyMs), times: round(manyMs / fewMs) };
    }
    return { pages, newest_times: pages.newest?.times ?? Number.NaN };
  } finally {
    for (const { name, sql } of filled) {
      await sql.end({ timeout: 5 });
      await admin`DROP DATABASE ${admin(name)}`;
    }
    await admin.end({ timeout: 5 });
  }
}
