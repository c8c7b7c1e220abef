import type { PayloadKeyRecord } from "../../../core/operations/payload-keys.ts";
import { answer, type Sql } from "../connection.ts";

/** Creates the PostgreSQL record of encryption keys in use. Times are by the clock of the database. */
export function createPayloadKeyRecord(sql: Sql): PayloadKeyRecord {
  return {
    async note({ id, checkValue }) {
      await answer(
        sql,
        sql`INSERT INTO payload_keys (key_id, check_value, last_encrypted_at)
          VALUES (${id}, ${checkValue}, clock_timestamp())
          ON CONFLICT (key_id) DO UPDATE SET last_encrypted_at = EXCLUDED.last_encrypted_at`,
      );
    },

    async used(withinMs) {
      const rows = await answer(
        sql,
        sql<{ key_id: string; check_value: string }[]>`
        SELECT key_id, check_value FROM payload_keys
        WHERE last_encrypted_at > clock_timestamp() - ${withinMs} * interval '1 millisecond' ORDER BY key_id`,
      );
      return rows.map((row) => ({ id: row.key_id, checkValue: row.check_value }));
    },
  };
}
