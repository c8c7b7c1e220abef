import type { Claim, ClaimName, ClaimStore } from "../../../core/requests/idempotency-store.ts";
import { answer, type Sql, storableText } from "../connection.ts";

interface ClaimRow {
  mine: boolean;
  request_id: string;
  fingerprint: string;
  answer: Buffer | null;
  age_ms: number;
}

const claimOf = ({ mine, request_id, fingerprint, answer: kept, age_ms }: ClaimRow): Claim => ({
  mine,
  requestId: request_id,
  fingerprint,
  ageMs: age_ms,
  ...(kept && { answer: kept }),
});

const DAY_SECONDS = 24 * 3600;

/**
 * The claims, in Postgres. An id that is made here is a UUIDv7 of the day of the claim and a digest of its
 * name: the same whenever it is made anew on that day, and another one when the key may be used again.
 */
export const createIdempotencyStore = (sql: Sql): ClaimStore => {
  const named = ({ ownerId, key }: ClaimName) =>
    sql`owner_id = ${storableText(ownerId)} AND key = ${storableText(key)}`;
  return {
    async claim(name, { requestId, fingerprint, seconds }) {
      const [owner, key] = [storableText(name.ownerId), storableText(name.key)];
      for (;;) {
        const [row] = await answer(
          sql,
          sql<ClaimRow[]>`
            WITH asked AS MATERIALIZED (
              SELECT clock_timestamp() AS at,
                     -- Not waited for the disk: a claim that a crash of the database loses is made anew with the same id.
                     set_config('synchronous_commit', CASE WHEN ${requestId ?? null}::uuid IS NULL THEN 'off' ELSE 'on' END, true)
            ), named AS (
              SELECT at, floor(extract(epoch FROM at) / ${DAY_SECONDS})::bigint AS day,
                     encode(sha256(convert_to(${`${owner}\n${key}\n`}::text || floor(extract(epoch FROM at) / ${DAY_SECONDS})::text, 'UTF8')), 'hex')
                       AS digest
              FROM asked
            ), mine AS (
              INSERT INTO claims (owner_id, key, request_id, fingerprint, expires_at)
              SELECT ${owner}, ${key},
                     COALESCE(${requestId ?? null}::uuid,
                              (lpad(to_hex(day * ${DAY_SECONDS * 1000}), 12, '0') || '7' || substr(digest, 1, 3) || 'a' || substr(digest, 4, 15))::uuid),
                     ${fingerprint}, at + make_interval(secs => ${seconds})
              FROM named
              ON CONFLICT (owner_id, key) DO UPDATE
                SET request_id = excluded.request_id, fingerprint = excluded.fingerprint, shared = false, answer = NULL,
                    claimed_at = clock_timestamp(), expires_at = excluded.expires_at
                WHERE claims.expires_at <= clock_timestamp()
              RETURNING request_id, fingerprint
            )
            SELECT true AS mine, request_id, fingerprint, NULL::bytea AS answer, 0::float8 AS age_ms FROM mine
            UNION ALL
            SELECT false, request_id, fingerprint, answer,
                   (extract(epoch FROM clock_timestamp() - claimed_at) * 1000)::float8
            FROM claims WHERE ${named(name)} AND NOT EXISTS (SELECT FROM mine)`,
        );
        // None: a rival's claim was made while this statement ran, so it is not in its view; the next one
        // sees it.
        if (row) return claimOf(row);
      }
    },

    async share(name, requestId) {
      const { count } = await answer(
        sql,
        sql`UPDATE claims SET shared = true WHERE ${named(name)} AND request_id = ${requestId}`,
      );
      return count > 0;
    },

    async release(name, requestId) {
      await answer(
        sql,
        sql`DELETE FROM claims WHERE ${named(name)} AND request_id = ${requestId} AND NOT shared`,
      );
    },

    async answer(name, requestId, sealed) {
      await answer(
        sql,
        sql`UPDATE claims SET answer = ${sealed} WHERE ${named(name)} AND request_id = ${requestId}`,
      );
    },

    async takeOver(name, requestId, newRequestId, olderThanMs) {
      const { count } = await answer(
        sql,
        sql`UPDATE claims SET request_id = ${newRequestId}, claimed_at = clock_timestamp()
            WHERE ${named(name)} AND request_id = ${requestId} AND answer IS NULL
              AND claimed_at < clock_timestamp() - make_interval(secs => ${olderThanMs / 1000})`,
      );
      return count > 0;
    },

    async sweep(limit) {
      const { count } = await answer(
        sql,
        sql`DELETE FROM claims WHERE (owner_id, key) IN (
              SELECT owner_id, key FROM claims WHERE expires_at <= clock_timestamp() ORDER BY expires_at LIMIT ${limit}
              FOR UPDATE SKIP LOCKED)`,
      );
      return count;
    },
  };
};
