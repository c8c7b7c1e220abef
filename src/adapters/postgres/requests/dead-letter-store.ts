import type { DeadLetterStore } from "../../../core/requests/dead-letter-store.ts";
import type { JobSpec } from "../../../core/requests/job.ts";
import { isRequestId, type Outcome } from "../../../core/requests/request.ts";
import { answer, type Sql } from "../connection.ts";
import { type DeadLetterRow, deadLetterOfRow } from "./request-rows.ts";

interface DetailRow extends DeadLetterRow {
  job: JobSpec;
  outcome: Outcome;
  retried_as: string | null;
  retried_at: Date | null;
}

/** Creates the PostgreSQL store of dead letters. `RequestStore.finish` writes them. */
export function createDeadLetterStore(sql: Sql): DeadLetterStore {
  return {
    async list({ limit, before }) {
      const older =
        before === undefined
          ? sql``
          : sql`AND (l.created_at, l.request_id) < (${new Date(before.atMs)}, ${before.requestId}::uuid)`;
      const rows = await answer(
        sql,
        sql<DeadLetterRow[]>`
        SELECT request_id, owner_id, endpoint, version, reason, attempts, l.created_at
        FROM dead_letters l JOIN requests USING (request_id)
        WHERE retried_at IS NULL ${older} ORDER BY l.created_at DESC, l.request_id DESC LIMIT ${limit}`,
      );
      return rows.map(deadLetterOfRow);
    },

    async find(requestId) {
      if (!isRequestId(requestId)) return undefined;
      const [row] = await answer(
        sql,
        sql<DetailRow[]>`
        SELECT request_id, owner_id, endpoint, version, reason, attempts, l.created_at, job, outcome,
               retried_as, retried_at
        FROM dead_letters l JOIN requests USING (request_id) WHERE request_id = ${requestId}`,
      );
      return (
        row && {
          ...deadLetterOfRow(row),
          job: row.job,
          outcome: row.outcome,
          ...(row.retried_as && { retriedAs: row.retried_as }),
          ...(row.retried_at && { retriedAtMs: row.retried_at.getTime() }),
        }
      );
    },

    async claimRetry(requestId, newId) {
      const [row] = await answer(
        sql,
        sql<{ retried_as: string }[]>`
        UPDATE dead_letters SET retried_as = COALESCE(retried_as, ${newId}::uuid)
        WHERE request_id = ${requestId} RETURNING retried_as`,
      );
      return row?.retried_as;
    },

    async markRetried(requestId, atMs) {
      await answer(
        sql,
        sql`UPDATE dead_letters SET retried_at = ${new Date(atMs)}
          WHERE request_id = ${requestId} AND retried_at IS NULL`,
      );
    },

    async discard(requestId) {
      if (!isRequestId(requestId)) return false;
      const { count } = await answer(sql, sql`DELETE FROM dead_letters WHERE request_id = ${requestId}`);
      return count > 0;
    },
  };
}
