import type { Claim, ClaimName, ClaimStore } from "../../../core/requests/idempotency-store.ts";
import { answer, type Sql, storableText } from "../connection.ts";

interface ClaimRow {
  mine: boolean;
  request_id: string;
  fingerprint: string;
  answer: Buffer | null;
  age_ms: number;
}

const claimOf = ({ mine, request_id, fingerprint, answer: stored, age_ms }: ClaimRow): Claim => ({
  isOwn: mine,
  requestId: request_id,
  fingerprint,
  ageMs: age_ms,
  ...(stored && { answer: stored }),
});

const DAY_SECONDS = 24 * 3600;

/**
 * Creates the PostgreSQL store of claims. A request id that the database makes is a UUIDv7 from the day of
 * the claim and a digest of its name: the same id whenever it is made again on that day, and another id once
 * the key may be used again.
 */
export function createIdempotencyStore(sql: Sql): ClaimStore {
  return { ...claiming(sql), ...ownClaims(sql), ...sweeping(sql) };
}

const isNamed = (sql: Sql, { ownerId, key }: ClaimName) =>
  sql`owner_id = ${storableText(ownerId)} AND key = ${storableText(key)}`;

const claiming = (sql: Sql): Pick<ClaimStore, "claim"> => ({
  async claim(name, wanted) {
    for (;;) {
      const [row] = await answer(sql, claimStatement(sql, name, wanted));
      // No row: a rival made its claim while this statement ran, so it is outside this statement's snapshot.
      // The next statement sees it.
      if (row) return claimOf(row);
    }
  },
});

function claimStatement(
  sql: Sql,
  name: ClaimName,
  { requestId, fingerprint, seconds }: Parameters<ClaimStore["claim"]>[1],
) {
  const [owner, key] = [storableText(name.ownerId), storableText(name.key)];
  const givenId = sql`${requestId ?? null}::uuid`;
  const day = sql`floor(extract(epoch FROM at) / ${DAY_SECONDS})`;
  const madeId = sql`(lpad(to_hex(day * ${DAY_SECONDS * 1000}), 12, '0') || '7' || substr(digest, 1, 3)
                      || 'a' || substr(digest, 4, 15))::uuid`;
  return sql<ClaimRow[]>`
    WITH started AS MATERIALIZED (
      SELECT clock_timestamp() AS at,
             -- No wait for the disk: a claim lost in a crash of the database is made again with the same id.
             set_config('synchronous_commit', CASE WHEN ${givenId} IS NULL THEN 'off' ELSE 'on' END, true)
    ), named AS (
      SELECT at, ${day}::bigint AS day,
             encode(sha256(convert_to(${`${owner}\n${key}\n`}::text || ${day}::text, 'UTF8')), 'hex')
               AS digest
      FROM started
    ), mine AS (
      INSERT INTO claims (owner_id, key, request_id, fingerprint, expires_at)
      SELECT ${owner}, ${key}, COALESCE(${givenId}, ${madeId}), ${fingerprint},
             at + make_interval(secs => ${seconds})
      FROM named
      ON CONFLICT (owner_id, key) DO UPDATE
        SET request_id = excluded.request_id, fingerprint = excluded.fingerprint, shared = false,
            answer = NULL, claimed_at = clock_timestamp(), expires_at = excluded.expires_at
        WHERE claims.expires_at <= clock_timestamp()
      RETURNING request_id, fingerprint
    )
    SELECT true AS mine, request_id, fingerprint, NULL::bytea AS answer, 0::float8 AS age_ms FROM mine
    UNION ALL
    SELECT false, request_id, fingerprint, answer,
           (extract(epoch FROM clock_timestamp() - claimed_at) * 1000)::float8
    FROM claims WHERE ${isNamed(sql, name)} AND NOT EXISTS (SELECT FROM mine)`;
}

/** Changes to the claim of one request. */
const ownClaims = (sql: Sql): Pick<ClaimStore, "share" | "release" | "answer" | "takeOver"> => ({
  async share(name, requestId) {
    const { count } = await answer(
      sql,
      sql`UPDATE claims SET shared = true WHERE ${isNamed(sql, name)} AND request_id = ${requestId}`,
    );
    return count > 0;
  },

  async release(name, requestId) {
    await answer(
      sql,
      sql`DELETE FROM claims WHERE ${isNamed(sql, name)} AND request_id = ${requestId} AND NOT shared`,
    );
  },

  async answer(name, requestId, sealed) {
    await answer(
      sql,
      sql`UPDATE claims SET answer = ${sealed} WHERE ${isNamed(sql, name)} AND request_id = ${requestId}`,
    );
  },

  async takeOver(name, requestId, newRequestId, olderThanMs) {
    const { count } = await answer(
      sql,
      sql`UPDATE claims SET request_id = ${newRequestId}, claimed_at = clock_timestamp()
          WHERE ${isNamed(sql, name)} AND request_id = ${requestId} AND answer IS NULL
            AND claimed_at < clock_timestamp() - make_interval(secs => ${olderThanMs / 1000})`,
    );
    return count > 0;
  },
});

const sweeping = (sql: Sql): Pick<ClaimStore, "sweep"> => ({
  async sweep(limit) {
    const { count } = await answer(
      sql,
      sql`DELETE FROM claims WHERE (owner_id, key) IN (
            SELECT owner_id, key FROM claims WHERE expires_at <= clock_timestamp()
            ORDER BY expires_at LIMIT ${limit}
            FOR UPDATE SKIP LOCKED)`,
    );
    return count;
  },
});
