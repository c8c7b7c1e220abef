import { isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import { answer, databaseName, type Sql } from "./connection.ts";

/**
 * Asks the server for an answer. Rejects with `store_unavailable` for whatever reason there is none; the
 * message names it.
 */
export async function reachPostgres(sql: Sql, databaseUrl: string): Promise<void> {
  try {
    await answer(sql, sql`SELECT 1`);
  } catch (error) {
    if (isTemperaError(error)) throw error;
    throw new TemperaError(
      "store_unavailable",
      `PostgreSQL at ${databaseName(databaseUrl)} cannot be used (${(error as Error).message}); ` +
        "start it, or correct DATABASE_URL and its TLS settings.",
      { cause: error },
    );
  }
}
