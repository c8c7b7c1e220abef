/**
 * The platform in its production shape: Temporal on a PostgreSQL of its own, the platform's PostgreSQL,
 * Redis, an S3 server, and two of each role, every one a process.
 */
import { randomBytes, randomUUID } from "node:crypto";
import { mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { createCloseStack } from "../../../src/core/operations/close-stack.ts";
import { minioKeys, startMinio } from "../../../src/dev/services/minio.ts";
import { freePort } from "../../../src/dev/services/port.ts";
import { postgresUrl, startPostgres } from "../../../src/dev/services/postgres.ts";
import { redisUrl, startRedis } from "../../../src/dev/services/redis.ts";
import type { Log } from "../../../src/dev/services/service.ts";
import { listProcesses, type Part, servicePart } from "./part.ts";
import { type RoleExit, type RolePart, rolePart } from "./role-process.ts";
import type { TemporalBuild } from "./temporal-build.ts";
import { chooseTemporalPorts, prepareTemporalDatabases, startTemporalServer } from "./temporal-server.ts";

const ROLES = [
  ["admin", 1],
  ["gateway", 2],
  ["orchestrator", 2],
  ["gpu-worker", 2],
] as const;
const MODELS = "tempera/stub,fal-ai/qwen-image";
/** The role whose clock can be moved. */
export const CLOCK_SHIFTED = "gateway-2";
const CLOCK_SHIFT = pathToFileURL(join(import.meta.dirname, "clock-shift.mjs")).href;

export interface Stack extends AsyncDisposable {
  /** Holds logs and state; removed at the end unless it is kept. */
  folder: string;
  /** The addresses of the gateways. */
  gateways: string[];
  /** A key of scope ADMIN. */
  key: string;
  databaseUrl: string;
  temporalAddress: string;
  services: Part[];
  roles: RolePart[];
  /** The folder in which Redis keeps its append-only files. */
  redisFiles: string;
  /** Roles that ended by themselves. */
  exits: RoleExit[];
  /** Lists the engines of the stack's GPU workers, past and present, that run. */
  engines(): Promise<{ pid: number; parent: number }[]>;
  /** Stops every role and service gracefully. */
  stop(): Promise<void>;
}

/**
 * Starts the stack. When anything fails to start, or `over` aborts meanwhile, all that runs is stopped and
 * the reason is thrown.
 */
export async function startStack(build: TemporalBuild, log: Log, over: AbortSignal): Promise<Stack> {
  const folder = await mkdtemp(join(tmpdir(), "tempera-production-"));
  const closing = createCloseStack();
  try {
    const aborted = new Promise<never>((_, fail) => {
      over.addEventListener("abort", () => fail(over.reason), { once: true });
    });
    return await Promise.race([openStack({ build, log, folder, closing }), aborted]);
  } catch (error) {
    await closing[Symbol.asyncDispose]().catch(() => {});
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

interface Opening {
  build: TemporalBuild;
  log: Log;
  folder: string;
  closing: ReturnType<typeof createCloseStack>;
}

async function openStack({ build, log, folder, closing }: Opening): Promise<Stack> {
  const logs = join(folder, "logs");
  const temporary = join(folder, "tmp");
  await Promise.all([mkdir(logs), mkdir(temporary)]);
  // tsx keeps compiled source in the temporary folder: the stack's has the cache of this machine.
  const compiled = `tsx-${process.getuid?.() ?? ""}`;
  await mkdir(join(tmpdir(), compiled), { recursive: true });
  await symlink(join(tmpdir(), compiled), join(temporary, compiled));
  const ports = await choosePorts();
  const services = createServices({ build, log, folder }, ports);
  // Temporal takes ten seconds to leave a cluster in which it is alone.
  const stopSignal = (part: Part) => (part === services.temporal ? "SIGKILL" : "SIGTERM");
  closing.defer(() => Promise.all(services.all.map((part) => part.end(stopSignal(part)))));
  await Promise.all(services.stores.map((part) => part.start()));
  await prepareTemporalDatabases(
    build,
    await postgresUrl(services.at("temporal-database", ports.temporalDatabase)),
  );
  await services.temporal.start();

  const key = `${randomUUID()}:${randomBytes(32).toString("hex")}`;
  const databaseUrl = await postgresUrl(services.at("postgres", ports.postgres));
  const s3 = await minioKeys(services.at("object-store", ports.objectStore).folder);
  const env = {
    ...process.env,
    TMPDIR: temporary,
    DATABASE_URL: databaseUrl,
    REDIS_URL: await redisUrl(services.at("redis", ports.redis)),
    TEMPORAL_ADDRESS: `127.0.0.1:${ports.temporal.frontend}`,
    S3_ENDPOINT: `http://127.0.0.1:${ports.objectStore}`,
    S3_ACCESS_KEY: s3.accessKey,
    S3_SECRET_KEY: s3.secretKey,
    TEMPERA_ADMIN_PORT: String(ports.admin),
    TEMPERA_ADMIN_KEY: key,
    TEMPERA_PUBLIC_URL: `http://127.0.0.1:${ports.gateways[0]}`,
    TEMPERA_DATA: join(folder, "data"),
    TEMPERA_TEST_MODELS: "true",
    TEMPERA_ENGINE_CRASHES_OF_OWNER: "1000",
    TEMPERA_WORKER_MODELS: MODELS,
    TEMPERA_LOG_FORMAT: "json",
    TEMPERA_ALLOW_PRIVATE_ADDRESSES: "127.0.0.0/8",
    TEMPERA_WEBHOOK_DELAYS: "1,1,2,2,3,5,5,10,10",
  };
  const exits: RoleExit[] = [];
  const roles = ROLES.flatMap(([kind, count]) =>
    Array.from({ length: count }, (_, index) => {
      const name = `${kind}-${index + 1}`;
      const own = kind === "gateway" ? { TEMPERA_PORT: String(ports.gateways[index]) } : {};
      const preload = name === CLOCK_SHIFTED ? { NODE_OPTIONS: `--import ${CLOCK_SHIFT}` } : {};
      const onExit = (exit: RoleExit): void => void exits.push(exit);
      return rolePart({
        name,
        kind,
        logs,
        onExit,
        env: { ...env, ...own, ...preload, TEMPERA_WORKER_NAME: name },
      });
    }),
  );
  closing.defer(() => Promise.all(roles.map((role) => role.end("SIGTERM"))));
  await Promise.all(roles.map((role) => role.start()));

  return {
    folder,
    gateways: ports.gateways.map((port) => `http://127.0.0.1:${port}`),
    key,
    databaseUrl,
    temporalAddress: `127.0.0.1:${ports.temporal.frontend}`,
    services: services.all,
    roles,
    redisFiles: join(folder, "redis", "appendonlydir"),
    exits,
    engines: () => findEngines(roles),
    stop: () => closing[Symbol.asyncDispose](),
    async [Symbol.asyncDispose]() {
      await closing[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function choosePorts() {
  return {
    postgres: await freePort(),
    temporalDatabase: await freePort(),
    redis: await freePort(),
    objectStore: await freePort(),
    admin: await freePort(),
    gateways: [await freePort(), await freePort()],
    temporal: await chooseTemporalPorts(),
  };
}

function createServices(
  { build, log, folder }: Pick<Opening, "build" | "log" | "folder">,
  ports: Awaited<ReturnType<typeof choosePorts>>,
) {
  const at = (name: string, port: number) => ({ folder: join(folder, name), port, log });
  const stores = [
    servicePart("postgres", () => startPostgres(at("postgres", ports.postgres))),
    servicePart("temporal-database", () =>
      startPostgres({ ...at("temporal-database", ports.temporalDatabase), attribute: "CREATEDB" }),
    ),
    servicePart("redis", () => startRedis(at("redis", ports.redis))),
    servicePart("object-store", () => startMinio(at("object-store", ports.objectStore))),
  ];
  const temporal = servicePart("temporal", async () =>
    startTemporalServer({
      build,
      ports: ports.temporal,
      databaseUrl: await postgresUrl(at("temporal-database", ports.temporalDatabase)),
      folder: join(folder, "logs"),
    }),
  );
  return { at, stores, temporal, all: [...stores, temporal] };
}

/** Finds engines by their socket, whose file name begins with the process id of its GPU worker. */
async function findEngines(roles: RolePart[]): Promise<{ pid: number; parent: number }[]> {
  const workers = new Set(roles.filter(({ kind }) => kind === "gpu-worker").flatMap(({ pids }) => pids));
  return (await listProcesses()).filter(({ command }) => {
    const [, worker] = /\/(\d+)-\d+\.sock\0/.exec(command) ?? [];
    return worker !== undefined && workers.has(Number(worker));
  });
}
