import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { resolveBinary } from "dbmate";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { maskPositions } from "../../core/operations/mask.ts";
import type { ServiceTls } from "../../core/operations/service-tls.ts";
import { databaseName } from "./connection.ts";

const MIGRATIONS = fileURLToPath(new URL("../../../infra/migrations", import.meta.url));

/**
 * Attempts at a migration. Processes that start at the same time migrate at the same time: the loser of a
 * race finds that migration done at its next attempt, so it loses at most one race per migration, and one for
 * dbmate's own table.
 */
const ATTEMPTS_MAX = readdirSync(MIGRATIONS).length + 2;

/**
 * Brings a database to the newest migration with dbmate, whose binary is part of its npm package. May be
 * repeated.
 *
 * Rejects with `store_unavailable`; its one-line message names the database, never its password.
 */
export async function migrate(
  databaseUrl: string,
  { tls }: { tls?: ServiceTls | undefined } = {},
): Promise<void> {
  if (!tls) return run(new URL(databaseUrl));
  const folder = await mkdtemp(join(tmpdir(), "tempera-tls-"));
  try {
    await run(await withTls(new URL(databaseUrl), tls, folder));
  } finally {
    await rm(folder, { recursive: true });
  }
}

/**
 * Returns the address with the TLS options of dbmate's driver. That driver reads certificates from files
 * only, and a private key only when no other user can read it, so they are written to `folder`. It has no
 * option for a name other than the host's: with a `serverName`, it checks the certificate's authority and not
 * its name.
 */
async function withTls(url: URL, { ca, cert, key, serverName }: ServiceTls, folder: string): Promise<URL> {
  url.searchParams.set("sslmode", serverName === undefined ? "verify-full" : "verify-ca");
  for (const [parameter, pem] of Object.entries({ sslrootcert: ca, sslcert: cert, sslkey: key })) {
    if (pem === undefined) continue;
    const path = join(folder, parameter);
    await writeFile(path, pem, { mode: 0o600 });
    url.searchParams.set(parameter, path);
  }
  return url;
}

async function run(url: URL): Promise<void> {
  if (!url.searchParams.has("sslmode")) url.searchParams.set("sslmode", "disable");
  const args = ["--no-dump-schema", "--migrations-dir", MIGRATIONS, "migrate"];
  for (let attempt = 1; ; attempt++) {
    try {
      await promisify(execFile)(resolveBinary(), args, {
        env: { DATABASE_URL: url.href, PATH: process.env.PATH },
        timeout: 60_000,
      });
      return;
    } catch (error) {
      const { stderr = "", message } = error as { stderr?: string; message: string };
      const why = maskPositions(stderr.trim().split("\n").at(-1) || message).replace(/^Error: /, "");
      if (attempt < ATTEMPTS_MAX && /already exists|duplicate key|concurrently/.test(why)) continue;
      throw new TemperaError(
        "store_unavailable",
        `PostgreSQL at ${databaseName(url.href)} cannot be migrated (${why}); ` +
          "start it, or correct DATABASE_URL.",
      );
    }
  }
}
