import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { resolveBinary } from "dbmate";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { ServiceTls } from "../../core/operations/service-tls.ts";
import { databaseName } from "./connection.ts";

const MIGRATIONS = fileURLToPath(new URL("../../../infra/migrations", import.meta.url));

/**
 * Processes that start at once migrate at once. Whoever loses a race finds that migration done when it tries
 * again, so it loses one for each at most, and one for dbmate's own table.
 */
const TRIES = readdirSync(MIGRATIONS).length + 2;

/**
 * Brings a database to the newest migration with dbmate, whose program comes inside its npm package. Harmless
 * to repeat.
 *
 * Rejects with `store_unavailable` in one line that names the database, never its password.
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
 * The address as dbmate's driver reads it. That driver takes files only, and a private key only when nobody
 * else can read it: what was read elsewhere is written into a folder of its own. A name that is not the
 * host's cannot be told to it, so that then the certificate's authority is checked and its name is not.
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
      const why = (stderr.trim().split("\n").at(-1) || message)
        .replace(/^Error: /, "")
        .replaceAll(url.password || "\u0000", "***");
      if (attempt < TRIES && /already exists|duplicate key|concurrently/.test(why)) continue;
      throw new TemperaError(
        "store_unavailable",
        `PostgreSQL at ${databaseName(url.href)} cannot be migrated (${why}); start it, or correct DATABASE_URL.`,
      );
    }
  }
}
