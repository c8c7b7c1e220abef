import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startMinio } from "../../src/dev/services/minio.ts";
import { startPostgres } from "../../src/dev/services/postgres.ts";
import { startRedis } from "../../src/dev/services/redis.ts";
import type { Service } from "../../src/dev/services/service.ts";
import { startTemporal } from "../../src/dev/services/temporal.ts";
import { dropTestDatabases } from "./test-database.ts";

/**
 * Starts the services of the tests once per run, on free ports and in a temporary folder. A service that
 * the environment names (`TEMPORAL_ADDRESS`, `DATABASE_URL`, `REDIS_URL`, `S3_ENDPOINT` with its keys) is
 * used instead.
 *
 * Tests read the addresses from `TEST_TEMPORAL_ADDRESS`, `TEST_DATABASE_URL`, `TEST_REDIS_URL`,
 * `TEST_S3_ENDPOINT`, `TEST_S3_ACCESS_KEY` and `TEST_S3_SECRET_KEY`. When services cannot be started, the run
 * fails and names all of them.
 */
export default async function startServices(): Promise<() => Promise<void>> {
  const { env } = process;
  // The second project of a run uses the services of the first.
  if (env.TEST_RUN) return async () => {};
  const run = `${process.pid}_${Date.now().toString(36)}`;
  const folder = await mkdtemp(join(tmpdir(), "tempera-test-"));
  const log = (line: string) => process.stderr.write(`[setup] ${line}\n`);
  const started: Service[] = [];
  const start = async <S extends Service>(
    starting: Promise<S>,
    name: (service: S) => Record<string, string>,
  ) => {
    const service = await starting;
    started.push(service);
    Object.assign(env, name(service));
  };

  const outcomes = await Promise.allSettled([
    env.TEMPORAL_ADDRESS
      ? Object.assign(env, { TEST_TEMPORAL_ADDRESS: env.TEMPORAL_ADDRESS })
      : start(startTemporal({ folder: join(folder, "temporal"), inMemory: true, log }), ({ url }) => ({
          TEST_TEMPORAL_ADDRESS: url,
        })),
    env.DATABASE_URL
      ? Object.assign(env, { TEST_DATABASE_URL: env.DATABASE_URL })
      : start(
          startPostgres({ folder: join(folder, "postgres"), fast: true, attribute: "CREATEDB", log }),
          ({ url }) => ({
            TEST_DATABASE_URL: url,
          }),
        ),
    env.REDIS_URL
      ? Object.assign(env, { TEST_REDIS_URL: env.REDIS_URL })
      : start(startRedis({ folder: join(folder, "redis"), log }), ({ url }) => ({ TEST_REDIS_URL: url })),
    env.S3_ENDPOINT
      ? Object.assign(env, {
          TEST_S3_ENDPOINT: env.S3_ENDPOINT,
          TEST_S3_ACCESS_KEY: env.S3_ACCESS_KEY ?? "",
          TEST_S3_SECRET_KEY: env.S3_SECRET_KEY ?? "",
        })
      : start(startMinio({ folder: join(folder, "minio"), log }), ({ url, accessKey, secretKey }) => ({
          TEST_S3_ENDPOINT: url,
          TEST_S3_ACCESS_KEY: accessKey,
          TEST_S3_SECRET_KEY: secretKey,
        })),
  ]);

  const stop = async () => {
    await Promise.all(started.map((service) => service.stop()));
    await rm(folder, { recursive: true, force: true });
  };
  const faults = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason] : []));
  if (faults.length > 0) {
    await stop();
    throw new Error(
      faults.map((fault) => (fault instanceof Error ? fault.message : String(fault))).join("\n"),
    );
  }
  env.TEST_RUN = run;
  return async () => {
    if (env.DATABASE_URL) await dropTestDatabases(env.DATABASE_URL, run);
    await stop();
    // Vitest in watch mode runs this setup again.
    delete env.TEST_RUN;
  };
}
