import type { Key, Scope } from "../../core/key.ts";
import type { KeyStore } from "../../core/ports/key-store.ts";
import { answer, type Sql, storableText } from "./connection.ts";

/** The channel of the trigger in the migration that made the table. */
const CHANNEL = "keys_changed";

interface KeyRow {
  key_id: string;
  owner_id: string;
  alias: string;
  scope: Scope;
  secret_sha256: string;
  created_at: Date;
  revoked_at: Date | null;
}

const keyOf = (row: KeyRow): Key => ({
  keyId: row.key_id,
  ownerId: row.owner_id,
  alias: row.alias,
  scope: row.scope,
  secretSha256: row.secret_sha256,
  createdAtMs: row.created_at.getTime(),
  ...(row.revoked_at && { revokedAtMs: row.revoked_at.getTime() }),
});

/** The keys, in Postgres. */
export const createKeyStore = (sql: Sql): KeyStore => ({
  async insert({ keyId, ownerId, alias, scope, secretSha256, createdAtMs }) {
    await answer(
      sql,
      sql`INSERT INTO keys (key_id, owner_id, alias, scope, secret_sha256, created_at)
          VALUES (${keyId}, ${storableText(ownerId)}, ${storableText(alias)}, ${scope}, ${secretSha256}, ${new Date(createdAtMs)})`,
    );
  },

  async find(keyId) {
    const [row] = await answer(sql, sql<KeyRow[]>`SELECT * FROM keys WHERE key_id = ${storableText(keyId)}`);
    return row && keyOf(row);
  },

  async list({ limit, before }) {
    const older = before === undefined ? sql`` : sql`WHERE (created_at, key_id) < (${new Date(before.atMs)}, ${storableText(before.id)})`;
    const rows = await answer(sql, sql<KeyRow[]>`SELECT * FROM keys ${older} ORDER BY created_at DESC, key_id DESC LIMIT ${limit}`);
    return rows.map(keyOf);
  },

  async revoke(keyId, atMs) {
    const { count } = await answer(
      sql,
      sql`UPDATE keys SET revoked_at = ${new Date(atMs)} WHERE key_id = ${storableText(keyId)} AND revoked_at IS NULL`,
    );
    return count > 0;
  },

  async onChange(listener) {
    // The driver keeps a connection of its own for this, and listens again when it was lost. What changed in between is not
    // told; callers bound how long they remember a key.
    const { unlisten } = await answer(sql, sql.listen(CHANNEL, listener));
    return unlisten;
  },
});
