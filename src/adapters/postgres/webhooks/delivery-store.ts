import { isRequestId } from "../../../core/requests/request.ts";
import type { DeliveryRecord, DeliveryStore } from "../../../core/webhooks/delivery-store.ts";
import type { DeliveryAttempt, DeliveryState } from "../../../core/webhooks/webhook.ts";
import { answer, type Sql, storableText } from "../connection.ts";

interface DeliveryRow {
  request_id: string;
  owner_id: string;
  endpoint: string;
  url: string;
  state: DeliveryState;
  round: number;
  attempts: number;
  created_at: Date;
  updated_at: Date;
  next_attempt_at: Date | null;
  last_status: number | null;
  last_error: string | null;
  retry_of: string | null;
}

interface AttemptRow {
  round: number;
  attempt: number;
  started_at: Date;
  duration_ms: number;
  status: number | null;
  error: string | null;
}

const deliveryOf = (row: DeliveryRow): DeliveryRecord => ({
  requestId: row.request_id,
  ownerId: row.owner_id,
  endpoint: row.endpoint,
  url: row.url,
  state: row.state,
  round: row.round,
  attempts: row.attempts,
  createdAtMs: row.created_at.getTime(),
  updatedAtMs: row.updated_at.getTime(),
  ...(row.next_attempt_at && { nextAttemptAtMs: row.next_attempt_at.getTime() }),
  ...(row.last_status !== null && { lastStatus: row.last_status }),
  ...(row.last_error !== null && { lastError: row.last_error }),
  ...(row.retry_of !== null && { retryOf: row.retry_of }),
});

const attemptOf = (row: AttemptRow): DeliveryAttempt => ({
  round: row.round,
  attempt: row.attempt,
  startedAtMs: row.started_at.getTime(),
  durationMs: row.duration_ms,
  ...(row.status !== null && { status: row.status }),
  ...(row.error !== null && { error: row.error }),
});

/** Creates the PostgreSQL record of webhook deliveries. */
export function createDeliveryStore(sql: Sql): DeliveryStore {
  return {
    async record(delivery, attempt, next) {
      await answer(sql, recordStatement(sql, delivery, attempt, next));
    },

    async find(requestId) {
      if (!isRequestId(requestId)) return undefined;
      const [row] = await answer(
        sql,
        sql<DeliveryRow[]>`SELECT * FROM deliveries WHERE request_id = ${requestId}`,
      );
      if (!row) return undefined;
      const attempts = await answer(
        sql,
        sql<AttemptRow[]>`
        SELECT * FROM delivery_attempts WHERE request_id = ${requestId} ORDER BY round, attempt`,
      );
      return { delivery: deliveryOf(row), attempts: attempts.map(attemptOf) };
    },

    async list({ state, limit, before }) {
      const ofState = state === undefined ? sql`` : sql`AND state = ${state}`;
      const older =
        before === undefined
          ? sql``
          : sql`AND (created_at, request_id) < (${new Date(before.atMs)}, ${before.requestId}::uuid)`;
      const rows = await answer(
        sql,
        sql<DeliveryRow[]>`
        SELECT * FROM deliveries WHERE true ${ofState} ${older}
        ORDER BY created_at DESC, request_id DESC LIMIT ${limit}`,
      );
      return rows.map(deliveryOf);
    },
  };
}

/**
 * Records an attempt and the delivery's state after it, in one statement. A repeated attempt changes nothing,
 * and an attempt of an older round does not change the state of a newer one. The delivery of a request that
 * was deleted meanwhile is not written.
 */
function recordStatement(
  sql: Sql,
  { requestId, ownerId, endpoint, url, round, retryOf }: RecordParameters[0],
  attempt: RecordParameters[1],
  { state, nextAttemptAtMs }: RecordParameters[2],
) {
  const startedAt = new Date(attempt.startedAtMs);
  const endedAt = new Date(attempt.startedAtMs + attempt.durationMs);
  const nextAt = nextAttemptAtMs === undefined ? null : new Date(nextAttemptAtMs);
  const status = sql`${attempt.status ?? null}::integer`;
  const error = sql`${attempt.error === undefined ? null : storableText(attempt.error)}::text`;
  return sql`
    WITH delivery AS (
      INSERT INTO deliveries (request_id, owner_id, endpoint, url, state, round, attempts, created_at,
                              updated_at, next_attempt_at, last_status, last_error, retry_of)
      SELECT ${requestId}::uuid, ${storableText(ownerId)}, ${endpoint}, ${storableText(url)}, ${state},
             ${round}, 1, ${startedAt}, ${endedAt}, ${nextAt}::timestamptz, ${status}, ${error},
             ${retryOf ?? null}::uuid
      WHERE EXISTS (SELECT FROM requests WHERE request_id = ${requestId})
      ON CONFLICT (request_id) DO UPDATE
        SET url = excluded.url, state = excluded.state, round = excluded.round,
            attempts = deliveries.attempts + 1, updated_at = excluded.updated_at,
            next_attempt_at = excluded.next_attempt_at, last_status = excluded.last_status,
            last_error = excluded.last_error
        WHERE deliveries.round <= excluded.round
          AND NOT EXISTS (SELECT FROM delivery_attempts a WHERE a.request_id = excluded.request_id
                            AND a.round = excluded.round AND a.attempt >= ${attempt.attempt})
      RETURNING request_id
    )
    INSERT INTO delivery_attempts (request_id, round, attempt, started_at, duration_ms, status, error)
    SELECT request_id, ${attempt.round}, ${attempt.attempt}, ${startedAt}, ${attempt.durationMs}, ${status},
           ${error}
    FROM delivery ON CONFLICT DO NOTHING`;
}

type RecordParameters = Parameters<DeliveryStore["record"]>;
