/** Temporal's server as in production: on PostgreSQL, with `temporal/dynamic-config/production.yaml`. */
import { execFile } from "node:child_process";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { Connection } from "@temporalio/client";
import postgres from "postgres";
import { freePort } from "../../../src/dev/services/port.ts";
import { type Service, startProcess } from "../../../src/dev/services/service.ts";
import type { TemporalBuild } from "./temporal-build.ts";

const run = promisify(execFile);
const DYNAMIC_CONFIG = resolve(import.meta.dirname, "../../../temporal/dynamic-config/production.yaml");
const DATABASES = { temporal: "temporal", temporal_visibility: "visibility" } as const;
/** As in docker-compose.yml: fixed for the life of a database. */
const SHARDS = 512;
const READY_WITHIN_MS = 120_000;
const NAMESPACE = "temporal-system";
/** Workflows that are looked for, each in another shard with few exceptions. */
const SHARDS_LOOKED_AT = 32;
/** gRPC's status. */
const NOT_FOUND = 5;

/** The ports of one server, the same at each of its starts. */
export interface TemporalPorts {
  frontend: number;
  others: Record<string, number>;
}

/** Chooses free ports for the four services of one server. */
export async function chooseTemporalPorts(): Promise<TemporalPorts> {
  const others: Record<string, number> = {};
  for (const service of ["HISTORY", "MATCHING", "WORKER"]) others[`${service}_GRPC_PORT`] = await freePort();
  for (const service of ["FRONTEND", "HISTORY", "MATCHING", "WORKER"])
    others[`${service}_MEMBERSHIP_PORT`] = await freePort();
  others.FRONTEND_HTTP_PORT = await freePort();
  return { frontend: await freePort(), others };
}

/** Creates both databases and brings them to the schema of the build. */
export async function prepareTemporalDatabases(build: TemporalBuild, databaseUrl: string): Promise<void> {
  const { port, username, password } = new URL(databaseUrl);
  const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} });
  try {
    for (const name of Object.keys(DATABASES)) await sql`create database ${sql(name)}`;
  } finally {
    await sql.end({ timeout: 1 });
  }
  await Promise.all(
    Object.entries(DATABASES).map(async ([database, schema]) => {
      const tool = (...args: string[]) =>
        run(build.schemaTool, [
          ...["--plugin", "postgres12_pgx", "--endpoint", "127.0.0.1", "--port", port],
          ...["--user", username, "--password", password, "--database", database, ...args],
        ]);
      await tool("setup-schema", "--version", "0.0");
      await tool("update-schema", "--schema-name", `postgresql/v12/${schema}`);
    }),
  );
}

/** Starts the server. Resolves when its frontend can serve, not when its port is open. */
export function startTemporalServer(options: {
  build: TemporalBuild;
  ports: TemporalPorts;
  databaseUrl: string;
  folder: string;
}): Promise<Service> {
  const { build, ports, databaseUrl, folder } = options;
  const database = new URL(databaseUrl);
  const address = `127.0.0.1:${ports.frontend}`;
  return startProcess({
    name: "Temporal",
    command: build.server,
    args: ["--allow-no-auth", "start"],
    env: {
      ...process.env,
      ...Object.fromEntries(Object.entries(ports.others).map(([name, port]) => [name, String(port)])),
      FRONTEND_GRPC_PORT: String(ports.frontend),
      DB: "postgres12_pgx",
      POSTGRES_SEEDS: "127.0.0.1",
      DB_PORT: database.port,
      POSTGRES_USER: database.username,
      POSTGRES_PWD: database.password,
      NUM_HISTORY_SHARDS: String(SHARDS),
      BIND_ON_IP: "127.0.0.1",
      DYNAMIC_CONFIG_FILE_PATH: DYNAMIC_CONFIG,
      // Each error comes with a stack trace: gigabytes in a long run.
      LOG_LEVEL: "fatal",
    },
    url: address,
    port: ports.frontend,
    portVariable: "FRONTEND_GRPC_PORT",
    logFile: join(folder, "temporal.log"),
    stopSignal: "SIGTERM",
    readyWithinMs: READY_WITHIN_MS,
    isReady: () => canServe(address),
  });
}

/**
 * Asks for a namespace, which needs the database, and for workflows that do not exist, which need the shards
 * that would have them.
 */
async function canServe(address: string): Promise<boolean> {
  const connection = await Connection.connect({ address, connectTimeout: 500 });
  const { workflowService } = connection;
  try {
    return await connection.withDeadline(Date.now() + 2_000, async () => {
      await workflowService.describeNamespace({ namespace: NAMESPACE });
      const looks = Array.from({ length: SHARDS_LOOKED_AT }, (_, number) =>
        workflowService
          .describeWorkflowExecution({ namespace: NAMESPACE, execution: { workflowId: `none-${number}` } })
          .catch((error: { code?: number }) => error.code === NOT_FOUND),
      );
      return (await Promise.all(looks)).every((isThere) => isThere !== false);
    });
  } finally {
    await connection.close();
  }
}
