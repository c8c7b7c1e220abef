import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { resolveBinary } from "dbmate";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { databaseName } from "./connection.ts";

const MIGRATIONS = fileURLToPath(new URL("../../../infra/migrations", import.meta.url));

/**
 * Processes that start at once migrate at once. Whoever loses a race finds that migration done when it tries again, so it loses
 * one for each at most, and one for dbmate's own table.
 */
const TRIES = readdirSync(MIGRATIONS).length + 2;

/**
 * Brings a database to the newest migration with dbmate, whose program comes inside its npm package. Harmless to repeat.
 *
 * Rejects with `store_unavailable` in one line that names the database, never its password.
 */
export async function migrate(databaseUrl: string): Promise<void> {
  const url = new URL(databaseUrl);
  if (!url.searchParams.has("sslmode")) url.searchParams.set("sslmode", "disable");
  const args = ["--no-dump-schema", "--migrations-dir", MIGRATIONS, "migrate"];
  for (let attempt = 1; ; attempt++) {
    try {
      await promisify(execFile)(resolveBinary(), args, { env: { DATABASE_URL: url.href, PATH: process.env.PATH }, timeout: 60_000 });
      return;
    } catch (error) {
      const { stderr = "", message } = error as { stderr?: string; message: string };
      const why = (stderr.trim().split("\n").at(-1) || message).replace(/^Error: /, "").replaceAll(url.password || "\u0000", "***");
      if (attempt < TRIES && /already exists|duplicate key|concurrently/.test(why)) continue;
      throw new TemperaError(
        "store_unavailable",
        `PostgreSQL at ${databaseName(databaseUrl)} cannot be migrated (${why}); start it, or correct DATABASE_URL.`,
      );
    }
  }
}
