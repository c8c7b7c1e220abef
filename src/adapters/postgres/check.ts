import { storeFull } from "../../core/errors/store-failure.ts";
import { inTransaction, type Sql } from "./connection.ts";

/** More rows than fit in 64 KiB of memory, so that the server writes them to its disk: 112 KiB. */
const SPILLED_ROWS = 8_000;

/**
 * Checks that PostgreSQL answers, accepts writes and has space on its disk, at the cost of some milliseconds.
 * Rejects with `store_full` or `store_unavailable`.
 *
 * The space is tested by a temporary file, which the server writes when a query needs more memory than it
 * may have. It leaves nothing behind: neither rows nor WAL.
 */
export async function checkPostgres(sql: Sql): Promise<void> {
  const isReadOnly = await inTransaction(sql, async (tx) => {
    await tx`SET LOCAL work_mem = '64kB'`;
    const [found] = await tx<[{ read_only: string }]>`
      SELECT current_setting('transaction_read_only') AS read_only, count(*)
      FROM generate_series(1, ${SPILLED_ROWS})`;
    return found.read_only === "on";
  });
  if (isReadOnly)
    throw storeFull(
      "PostgreSQL",
      "accepts only reads",
      "end its read-only mode, or set DATABASE_URL to the primary server",
      undefined,
    );
}
