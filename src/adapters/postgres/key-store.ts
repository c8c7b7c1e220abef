import type { Key } from "../../core/key.ts";
import type { KeyStore } from "../../core/ports/key-store.ts";
import type { Sql } from "./connection.ts";

const key = (r: Record<string, any>): Key => ({
  keyId: r.key_id,
  ownerId: r.owner_id,
  alias: r.alias,
  scope: r.scope,
  secretSha256: r.secret_sha256,
  createdAtMs: +r.created_at,
  ...(r.revoked_at && { revokedAtMs: +r.revoked_at }),
});
export const createKeyStore = (sql: Sql): KeyStore => ({
  insert: async (k) =>
    void (await sql`INSERT INTO keys (key_id, owner_id, alias, scope, secret_sha256, created_at) VALUES (${k.keyId}, ${k.ownerId}, ${k.alias}, ${k.scope}, ${k.secretSha256}, ${new Date(k.createdAtMs)})`),
  find: async (id) => {
    const [r] = await sql`SELECT * FROM keys WHERE key_id = ${id}`;
    return r && key(r);
  },
  list: async () => (await sql`SELECT * FROM keys ORDER BY created_at DESC`).map(key),
  revoke: async (id, at) => (await sql`UPDATE keys SET revoked_at = ${new Date(at)} WHERE key_id = ${id} AND revoked_at IS NULL`).count > 0,
  onChange: async (l) => {
    const s = await sql.listen("keys_changed", l);
    return () => s.unlisten();
  },
});
