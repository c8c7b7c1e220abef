/** Records of requests that ended long ago, for retention to delete. */
import type { Sql } from "../../src/adapters/postgres/connection.ts";

/**
 * Inserts expired requests of one owner, with dead letters (one in a hundred), deliveries (one in ten) and
 * log lines (one in ten).
 */
export async function insertExpired(sql: Sql, count: number, ownerId = "expired"): Promise<void> {
  await sql`
    INSERT INTO requests (request_id, owner_id, key_id, endpoint, version, task_queue, priority, job,
                          submitted_at, started_at, ended_at, attempts, outcome, logs, log_words)
    SELECT gen_random_uuid(), ${ownerId}, 'k', 'tempera/stub', '1.0.0', 'gpu/tempera/stub/1.0.0', 'normal',
           json_build_object('requestId', n, 'input',
             json_build_object('inline', json_build_object('prompt', repeat('a prompt ', 40)))),
           at, at, at + interval '1 minute', 1,
           json_build_object('ok', true, 'output',
             json_build_object('inline', json_build_object('echo', repeat('an answer ', 40))),
             'metrics', '{}'::json),
           CASE WHEN n % 10 = 0 THEN json_build_array(json_build_object('id', '1-0', 'atMs', 1, 'event',
             '{"type":"log","attempt":1,"level":"INFO","message":"hello"}'::json)) ELSE '[]'::json END,
           CASE WHEN n % 10 = 0 THEN to_tsvector('simple', 'hello') END
    FROM (SELECT n, now() - interval '400 days' + n * interval '1 second' AS at
          FROM generate_series(1, ${count}::integer) AS n) AS old`;
  await sql`
    INSERT INTO dead_letters (request_id, reason, created_at)
    SELECT request_id, 'old', ended_at FROM requests WHERE owner_id = ${ownerId} AND random() < 0.01`;
  await sql`
    INSERT INTO deliveries (request_id, owner_id, endpoint, url, state, round, attempts,
                            created_at, updated_at)
    SELECT request_id, owner_id, endpoint, 'http://x/', 'delivered', 1, 1, ended_at, ended_at
    FROM requests
    WHERE owner_id = ${ownerId} AND random() < 0.1`;
  await sql`
    INSERT INTO delivery_attempts (request_id, round, attempt, started_at, duration_ms, status)
    SELECT request_id, 1, 1, created_at, 1, 200 FROM deliveries WHERE owner_id = ${ownerId}`;
  await sql`ANALYZE requests, dead_letters, deliveries, delivery_attempts`;
}
