import { READ_ONLY, storeFull } from "../../core/errors/store-failure.ts";
import { answer, type Sql } from "./connection.ts";

/**
 * Needs more memory than it may have, so that the server writes a temporary file of 112 KiB. Both statements
 * are sent as one, which is one transaction: the setting ends with it.
 */
const CHECK = `
  SET LOCAL work_mem = '64kB';
  SELECT current_setting('transaction_read_only') AS read_only, count(*) FROM generate_series(1, 8000)`;

/**
 * Checks that PostgreSQL answers, accepts writes and has space on its disk, at the cost of some milliseconds.
 * Rejects with `store_full` or `store_unavailable`. The temporary file shows whether there is space, and
 * leaves nothing behind: neither rows nor WAL.
 */
export async function checkPostgres(sql: Sql): Promise<void> {
  const [, rows] = (await answer(sql, sql.unsafe(CHECK).simple())) as unknown as { read_only: string }[][];
  if (rows?.[0]?.read_only === "on")
    throw storeFull(
      "PostgreSQL",
      `${READ_ONLY} (transaction_read_only)`,
      "end its read-only mode, or set DATABASE_URL to the primary server",
      undefined,
    );
}
