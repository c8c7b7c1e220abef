import { writeJson } from "../../../core/json/exact-json.ts";
import type { Scope } from "../../../core/owners/key.ts";
import type { KeyPermissions } from "../../../core/owners/key-permissions.ts";
import type { FoundKey, KeyChange, KeyStore } from "../../../core/owners/key-store.ts";
import { answer, type Sql, storableText } from "../connection.ts";

/** The channel that the table's trigger notifies. */
const CHANNEL = "keys_changed";

interface KeyRow {
  key_id: string;
  owner_id: string;
  alias: string;
  scope: Scope;
  permissions: KeyPermissions | null;
  secret_sha256: string;
  pepper_id: string | null;
  created_at: Date;
  revoked_at: Date | null;
  expires_at: Date | null;
  expires_in_ms: number | null;
  last_used_at: Date | null;
}

const keyOf = (row: KeyRow): FoundKey => ({
  keyId: row.key_id,
  ownerId: row.owner_id,
  alias: row.alias,
  scope: row.scope,
  ...(row.permissions && Object.keys(row.permissions).length > 0 && { permissions: row.permissions }),
  secretSha256: row.secret_sha256,
  ...(row.pepper_id !== null && { pepperId: row.pepper_id }),
  createdAtMs: row.created_at.getTime(),
  ...(row.revoked_at && { revokedAtMs: row.revoked_at.getTime() }),
  ...(row.expires_at && { expiresAtMs: row.expires_at.getTime(), expiresInMs: row.expires_in_ms ?? 0 }),
  ...(row.last_used_at && { lastUsedAtMs: row.last_used_at.getTime() }),
});

/** Creates the PostgreSQL store of keys. */
export function createKeyStore(sql: Sql): KeyStore {
  return { ...queries(sql), ...changes(sql) };
}

/** Selects keys. The server's clock decides how long a key still opens, whatever its clients' clocks say. */
const selectKeys = (sql: Sql) => sql`
  SELECT keys.*, key_uses.last_used_at,
         (EXTRACT(EPOCH FROM expires_at - clock_timestamp()) * 1000)::float8 AS expires_in_ms
  FROM keys LEFT JOIN key_uses USING (key_id)`;

const queries = (sql: Sql): Pick<KeyStore, "find" | "list" | "findAll" | "onChange"> => ({
  async find(keyId) {
    const [row] = await answer(sql, sql<KeyRow[]>`${selectKeys(sql)} WHERE key_id = ${storableText(keyId)}`);
    return row && keyOf(row);
  },

  async list({ limit, before }) {
    const older =
      before === undefined
        ? sql``
        : sql`WHERE (created_at, key_id) < (${new Date(before.atMs)}, ${storableText(before.id)})`;
    const found = await answer(
      sql,
      sql<KeyRow[]>`${selectKeys(sql)} ${older} ORDER BY created_at DESC, key_id DESC LIMIT ${limit}`,
    );
    return found.map(keyOf);
  },

  async findAll(keyIds) {
    const ids = sql.array(keyIds.map(storableText));
    return (await answer(sql, sql<KeyRow[]>`${selectKeys(sql)} WHERE key_id = ANY(${ids})`)).map(keyOf);
  },

  async onChange(listener) {
    // The driver uses a connection of its own for this, and subscribes again when it was lost. Changes in
    // between are not announced; callers bound how long they cache a key.
    const { unlisten } = await answer(sql, sql.listen(CHANNEL, listener));
    return unlisten;
  },
});

/** The permissions that a change sets, as JSON; those that it takes away are null. */
const permissionsSet = ({ endpoints, addresses, readOnly }: KeyChange): string =>
  writeJson({
    ...(endpoints !== undefined && { endpoints: endpoints && [...endpoints] }),
    ...(addresses !== undefined && { addresses: addresses && [...addresses] }),
    ...(readOnly !== undefined && { readOnly: readOnly || null }),
  });

const changes = (sql: Sql): Pick<KeyStore, "insert" | "change" | "revoke" | "rehash" | "recordUses"> => ({
  async insert({ keyId, ownerId, alias, scope, permissions, secretSha256, pepperId, ...times }) {
    const { createdAtMs, expiresAtMs } = times;
    await answer(
      sql,
      sql`INSERT INTO keys (key_id, owner_id, alias, scope, permissions, secret_sha256, pepper_id, created_at,
                            expires_at)
          VALUES (${keyId}, ${storableText(ownerId)}, ${storableText(alias)}, ${scope},
                  ${permissions ? permissionsSet(permissions) : null}::text::jsonb, ${secretSha256},
                  ${pepperId ?? null}, ${new Date(createdAtMs)},
                  ${expiresAtMs === undefined ? null : new Date(expiresAtMs)})`,
    );
  },

  async change(keyId, change) {
    const { alias, expiresAtMs } = change;
    const { count } = await answer(
      sql,
      sql`UPDATE keys SET
            alias = COALESCE(${alias === undefined ? null : storableText(alias)}, alias),
            expires_at = CASE WHEN ${expiresAtMs === undefined} THEN expires_at
                              ELSE ${expiresAtMs == null ? null : new Date(expiresAtMs)}::timestamptz END,
            permissions = jsonb_strip_nulls(
              COALESCE(permissions, '{}') || ${permissionsSet(change)}::text::jsonb)
          WHERE key_id = ${storableText(keyId)} AND revoked_at IS NULL`,
    );
    return count === 0 ? undefined : queries(sql).find(keyId);
  },

  async revoke(keyId, atMs) {
    const { count } = await answer(
      sql,
      sql`UPDATE keys SET revoked_at = ${new Date(atMs)}
          WHERE key_id = ${storableText(keyId)} AND revoked_at IS NULL`,
    );
    return count > 0;
  },

  async rehash(keyId, before, after) {
    await answer(
      sql,
      sql`UPDATE keys SET secret_sha256 = ${after.secretSha256}, pepper_id = ${after.pepperId ?? null}
          WHERE key_id = ${storableText(keyId)} AND secret_sha256 = ${before.secretSha256}`,
    );
  },

  async recordUses(uses) {
    if (uses.length === 0) return;
    // In the order of their ids, so that two gateways that record the same keys cannot deadlock.
    const sorted = [...uses].sort((a, b) => (a.keyId < b.keyId ? -1 : 1));
    const ids = sql.array(sorted.map(({ keyId }) => storableText(keyId)));
    const ages = sql.array(sorted.map(({ agoMs }) => Math.round(agoMs)));
    await answer(
      sql,
      sql`INSERT INTO key_uses (key_id, last_used_at)
          SELECT key_id, clock_timestamp() - ago * interval '1 millisecond'
          FROM unnest(${ids}::text[], ${ages}::float8[]) AS used (key_id, ago)
          JOIN keys USING (key_id)
          ORDER BY key_id
          ON CONFLICT (key_id) DO UPDATE
            SET last_used_at = GREATEST(key_uses.last_used_at, EXCLUDED.last_used_at)`,
    );
  },
});
