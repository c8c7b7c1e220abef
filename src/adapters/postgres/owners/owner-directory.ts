import type { OwnerDirectory, OwnerRecord } from "../../../core/owners/owner-directory.ts";
import { answer, type Sql, storableText } from "../connection.ts";

interface OwnerRow {
  owner_id: string;
  keys_active: number;
  keys: number;
  first_key_at: Date | null;
}

const ownerOf = (row: OwnerRow): OwnerRecord => ({
  ownerId: row.owner_id,
  keysActive: row.keys_active,
  keys: row.keys,
  ...(row.first_key_at && { firstKeyAtMs: row.first_key_at.getTime() }),
});

/** Creates the PostgreSQL directory of owners. */
export function createOwnerDirectory(sql: Sql): OwnerDirectory {
  const owners = async ({
    after,
    ownerId,
    limit,
  }: {
    after?: string;
    ownerId?: string;
    limit: number;
  }): Promise<OwnerRecord[]> => {
    const rows = await answer(
      sql,
      sql<OwnerRow[]>`
        WITH named AS (SELECT owner_id FROM keys UNION SELECT owner_id FROM owners), page AS (
          SELECT owner_id FROM named WHERE true
          ${after === undefined ? sql`` : sql`AND owner_id > ${storableText(after)}`}
          ${ownerId === undefined ? sql`` : sql`AND owner_id = ${storableText(ownerId)}`}
          ORDER BY owner_id LIMIT ${limit}
        )
        SELECT page.owner_id,
               count(key_id) FILTER (
                 WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
               )::integer AS keys_active,
               count(key_id)::integer AS keys, min(created_at) AS first_key_at
        FROM page LEFT JOIN keys USING (owner_id) GROUP BY page.owner_id ORDER BY page.owner_id`,
    );
    return rows.map(ownerOf);
  };
  return {
    list: (after, limit) => owners({ limit, ...(after !== undefined && { after }) }),
    find: async (ownerId) => (await owners({ ownerId, limit: 1 }))[0],

    async work(ownerId) {
      const [row] = await answer(
        sql,
        sql<{ unfinished: number; last: Date | null }[]>`
          SELECT (SELECT count(*)::integer FROM requests
                  WHERE outcome IS NULL AND owner_id = ${storableText(ownerId)}) AS unfinished,
                 (SELECT max(submitted_at) FROM requests WHERE owner_id = ${storableText(ownerId)}) AS last`,
      );
      return {
        unfinished: row?.unfinished ?? 0,
        ...(row?.last && { lastSubmittedAtMs: row.last.getTime() }),
      };
    },
  };
}
