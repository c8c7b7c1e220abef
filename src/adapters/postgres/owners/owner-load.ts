import type { OwnerLoad } from "../../../core/owners/owner-load.ts";
import { answer, type Sql, storableText } from "../connection.ts";

/** Creates the PostgreSQL source of owners' load, computed from the records of requests. */
export function createOwnerLoad(sql: Sql): OwnerLoad {
  return {
    async unfinished(ownerId, atMost) {
      const [row] = await answer(
        sql,
        sql<{ count: number }[]>`
        SELECT count(*)::int AS count
        FROM (SELECT FROM requests
              WHERE owner_id = ${storableText(ownerId)} AND outcome IS NULL AND parent_id IS NULL
              LIMIT ${atMost}) counted`,
      );
      return row?.count ?? 0;
    },

    async spent(ownerId, since) {
      const [row] = await answer(
        sql,
        sql<{ spent: number }[]>`
        SELECT (COALESCE((SELECT sum(units * unit_price) FROM usage
                          WHERE owner_id = ${storableText(ownerId)}
                            AND ended_at >= date_trunc(${since}, now(), 'UTC')), 0)
              + COALESCE((SELECT sum((job -> 'price' ->> 'unitPrice')::numeric) FROM requests
                          WHERE owner_id = ${storableText(ownerId)} AND outcome IS NULL), 0)
               )::float8 AS spent`,
      );
      return row?.spent ?? 0;
    },

    async stored(ownerId) {
      const [row] = await answer(
        sql,
        sql<{ bytes: string; files: string }[]>`
          SELECT bytes, files FROM stored_totals WHERE owner_id = ${storableText(ownerId)}`,
      );
      return { bytes: Number(row?.bytes ?? 0), files: Number(row?.files ?? 0) };
    },
  };
}
