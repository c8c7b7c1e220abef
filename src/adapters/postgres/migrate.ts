import { execFile } from "node:child_process";
import { resolve } from "node:path";
import { promisify } from "node:util";
import { resolveBinary } from "dbmate";

export async function migrate(databaseUrl: string, _?: { log: unknown }): Promise<void> {
  const url = new URL(databaseUrl);
  url.searchParams.set("sslmode", "disable");
  await promisify(execFile)(resolveBinary(), ["--no-dump-schema", "-d", resolve(import.meta.dirname, "../../../infra/migrations"), "up"], {
    env: { ...process.env, DATABASE_URL: url.href },
  });
}
