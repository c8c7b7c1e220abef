import type postgres from "postgres";
import type { RequestIdentity } from "../../../core/requests/request.ts";
import type { WithdrawalStore } from "../../../core/requests/withdrawal.ts";
import { answer, type Sql } from "../connection.ts";

interface WithdrawalRow {
  request_id: string;
  request: RequestIdentity | null;
}

/** Creates the PostgreSQL store of withdrawals. */
export function createWithdrawalStore(sql: Sql): WithdrawalStore {
  return {
    async note({ requestId, request }) {
      await answer(
        sql,
        sql`INSERT INTO withdrawals (request_id, request)
            VALUES (${requestId}, ${request ? sql.json(request as unknown as postgres.JSONValue) : null})
            ON CONFLICT (request_id) DO NOTHING`,
      );
    },

    async list(afterId, limit) {
      const rows = await answer(
        sql,
        sql<WithdrawalRow[]>`
          SELECT request_id, request FROM withdrawals
          WHERE ${afterId === undefined ? sql`true` : sql`request_id > ${afterId}`}
          ORDER BY request_id LIMIT ${limit}`,
      );
      return rows.map(({ request_id: requestId, request }) => ({ requestId, ...(request && { request }) }));
    },

    async markUnknown(requestId, keptMs) {
      await answer(
        sql,
        sql`WITH known AS (
              UPDATE withdrawals SET unknown_at = clock_timestamp()
              WHERE request_id = ${requestId} AND unknown_at IS NULL)
            DELETE FROM withdrawals WHERE request_id = ${requestId}
              AND unknown_at <= clock_timestamp() - make_interval(secs => ${keptMs / 1000})`,
      );
    },

    async remove(requestId) {
      await answer(sql, sql`DELETE FROM withdrawals WHERE request_id = ${requestId}`);
    },
  };
}
