import { randomBytes } from "node:crypto";
import type { SecretStore } from "../../../core/operations/secret-store.ts";
import { answer, type Sql } from "../connection.ts";

/**
 * Creates the PostgreSQL store of secrets. The first process to insert a secret decides it; all read the
 * same.
 */
export function createSecretStore(sql: Sql): SecretStore {
  return {
    async secret(name) {
      await answer(
        sql,
        sql`INSERT INTO secrets (name, value) VALUES (${name}, ${randomBytes(32)}) ON CONFLICT DO NOTHING`,
      );
      const [row] = await answer(
        sql,
        sql<{ value: Buffer }[]>`SELECT value FROM secrets WHERE name = ${name}`,
      );
      if (!row) throw new Error(`the secret ${name} was removed right after it was created`);
      return row.value;
    },
  };
}
