import type { OwnerLoad } from "../../core/ports/owner-load.ts";
import { answer, type Sql, storableText } from "./connection.ts";

/** What owners have in hand, counted in the records. */
export const createOwnerLoad = (sql: Sql): OwnerLoad => ({
  async unfinished(ownerId, atMost) {
    const [row] = await answer(
      sql,
      sql<{ count: number }[]>`
        SELECT count(*)::int AS count
        FROM (SELECT FROM requests WHERE owner_id = ${storableText(ownerId)} AND outcome IS NULL LIMIT ${atMost}) counted`,
    );
    return row?.count ?? 0;
  },
});
