/**
 * The platform as in production: every service and every role is a process of its own, and each can be
 * killed.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Client, Connection } from "@temporalio/client";
import { createFileObjectStore } from "../../src/adapters/object-store/file-object-store.ts";
import { connectPostgres } from "../../src/adapters/postgres/connection.ts";
import { createRequestStore } from "../../src/adapters/postgres/requests/request-store.ts";
import { createPlatformClient, type PlatformClient } from "../../src/cli/platform-client.ts";
import type { ObjectStore } from "../../src/core/files/object-store.ts";
import { createCloseStack } from "../../src/core/operations/close-stack.ts";
import type { RequestStore } from "../../src/core/requests/request-store.ts";
import { minioKeys, startMinio } from "../../src/dev/services/minio.ts";
import { freePort } from "../../src/dev/services/port.ts";
import { postgresUrl, startPostgres } from "../../src/dev/services/postgres.ts";
import { redisUrl, startRedis } from "../../src/dev/services/redis.ts";
import type { Service } from "../../src/dev/services/service.ts";
import { startTemporal } from "../../src/dev/services/temporal.ts";

/** PendingActivityState.PENDING_ACTIVITY_STATE_STARTED of Temporal's API. */
const ACTIVITY_STARTED = 2;

const PROJECT = resolve(import.meta.dirname, "../..");

export const ROLES = ["gateway", "admin", "orchestrator", "gpu-worker"] as const;
/** The services of a cluster. Without `objects`, objects are files. */
export const SERVICES = ["temporal", "postgres", "redis", "objects"] as const;
export type RoleName = (typeof ROLES)[number];
export type ServiceName = (typeof SERVICES)[number];
export type Part = RoleName | ServiceName;

/** A process of a role. */
export interface RoleProcess {
  child: ChildProcess;
  /** Returns the latest lines of its log. */
  output(): string;
}

export interface Cluster extends AsyncDisposable {
  client: PlatformClient;
  requests: RequestStore;
  objects: ObjectStore;
  url: string;
  adminUrl: string;
  databaseUrl: string;
  /** A key of scope ADMIN. */
  key: string;
  /** Kills a part with SIGKILL; resolves when its process has ended. */
  kill(part: Part): Promise<void>;
  /** Starts a part that does not run; resolves when it is ready. */
  restart(part: Part): Promise<void>;
  /** Starts the process of a role, and does not wait until it is ready. */
  launch(role: RoleName, more?: Record<string, string>): RoleProcess;
  /** Starts one more GPU worker, which is killed with the cluster; resolves when it is ready. */
  addGpuWorker(more: Record<string, string>): Promise<ChildProcess>;
  /**
   * Sends a signal to a role or an added worker; resolves with its exit code, `null` when the signal killed
   * it.
   */
  end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null>;
  /** Returns the process of a role. */
  child(role: RoleName): ChildProcess;
  /** Returns the process id of a role. */
  pid(role: RoleName): number;
  /** Returns the requests that GPU workers have started. */
  running(): Promise<string[]>;
  /** Returns the process ids of the engines. */
  engines(): Promise<number[]>;
}

/** Starts a cluster of all roles, and all services but the object store. */
export async function startCluster(models: string, more: Record<string, string> = {}): Promise<Cluster> {
  const cluster = await prepareCluster(models, more);
  try {
    await Promise.all((["temporal", "postgres", "redis"] as const).map(cluster.restart));
    await cluster.restart("admin");
    await Promise.all((["gateway", "orchestrator", "gpu-worker"] as const).map(cluster.restart));
    return cluster;
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}

type Starters = Record<ServiceName, () => Promise<Service>>;

/** Chooses the addresses of the services, which are known before they run. */
async function chooseServices(
  folder: string,
): Promise<{ starters: Starters; databaseUrl: string; env: Record<ServiceName, Record<string, string>> }> {
  const log = (): void => {};
  const locate = async (name: ServiceName) => ({ folder: join(folder, name), port: await freePort(), log });
  const [temporal, postgres, redis, objects] = await Promise.all(
    SERVICES.map(locate) as ServiceOptionsInOrder,
  );
  const databaseUrl = await postgresUrl(postgres);
  const keys = await minioKeys(objects.folder);
  return {
    starters: {
      temporal: () => startTemporal(temporal),
      postgres: () => startPostgres(postgres),
      redis: () => startRedis(redis),
      objects: () => startMinio(objects),
    },
    databaseUrl,
    env: {
      temporal: { TEMPORAL_ADDRESS: `127.0.0.1:${temporal.port}` },
      postgres: { DATABASE_URL: databaseUrl },
      redis: { REDIS_URL: await redisUrl(redis) },
      objects: {
        S3_ENDPOINT: `http://127.0.0.1:${objects.port}`,
        S3_ACCESS_KEY: keys.accessKey,
        S3_SECRET_KEY: keys.secretKey,
      },
    },
  };
}
type Location = { folder: string; port: number; log: () => void };
type ServiceOptionsInOrder = [Promise<Location>, Promise<Location>, Promise<Location>, Promise<Location>];

/** Chooses everything of a cluster, and starts nothing. @param usesS3 objects are in an object store */
export async function prepareCluster(
  models: string,
  more: Record<string, string> = {},
  { usesS3 = false } = {},
): Promise<Cluster> {
  const closing = createCloseStack();
  const folder = await mkdtemp(join(tmpdir(), "tempera-chaos-"));
  closing.defer(() => rm(folder, { recursive: true, force: true }));
  const { starters, databaseUrl, env: addresses } = await chooseServices(folder);
  const services = new Map<Part, Service>();
  const roles = new Map<Part, RoleProcess>();
  closing.defer(() => Promise.all([...services.values()].map((service) => service.stop())));

  const key = `${randomUUID()}:${randomBytes(32).toString("hex")}`;
  const ports = { gateway: await freePort(), admin: await freePort() };
  const env = {
    ...process.env,
    ...addresses.temporal,
    ...addresses.postgres,
    ...addresses.redis,
    ...(usesS3 && addresses.objects),
    TEMPERA_PORT: String(ports.gateway),
    TEMPERA_ADMIN_PORT: String(ports.admin),
    TEMPERA_ADMIN_KEY: key,
    TEMPERA_DATA: join(folder, "data"),
    TEMPERA_TEST_MODELS: "true",
    TEMPERA_ENGINE_CRASHES_OF_OWNER: "1000",
    TEMPERA_WORKER_MODELS: models,
    TEMPERA_LOG_LEVEL: "info",
    TEMPERA_ALLOW_PRIVATE_ADDRESSES: "127.0.0.0/8",
    TEMPERA_SESSIONS_MAX: "64",
    TEMPERA_WEBHOOK_DELAYS: "3,1,1",
    ...more,
  };
  const launch = (name: RoleName, own: Record<string, string> = {}): RoleProcess => {
    const child = spawn(process.execPath, ["--import", "tsx", join(PROJECT, `src/bin/${name}.ts`)], {
      cwd: PROJECT,
      env: { ...env, ...own },
      stdio: ["ignore", "ignore", "pipe"],
    });
    launched.add(child);
    let output = "";
    child.stderr.on("data", (chunk: Buffer) => {
      output = (output + chunk).slice(-16_000);
    });
    const role = { child, output: () => output };
    roles.set(name, role);
    return role;
  };
  const launched = new Set<ChildProcess>();
  closing.defer(() => Promise.all([...launched].map((child) => end(child, "SIGKILL"))));

  const sql = connectPostgres(databaseUrl, { maxConnections: 1 });
  closing.defer(() => sql.end({ timeout: 1 }));
  const connection = Connection.lazy({ address: addresses.temporal.TEMPORAL_ADDRESS ?? "" });
  closing.defer(() => connection.close());
  const { workflow } = new Client({ connection, namespace: "tempera" });

  const url = `http://127.0.0.1:${ports.gateway}`;
  const adminUrl = `http://127.0.0.1:${ports.admin}`;
  const child = (role: RoleName) => roles.get(role)?.child as ChildProcess;
  return {
    url,
    adminUrl,
    databaseUrl,
    key,
    client: createPlatformClient({ url, adminUrl, key }),
    requests: createRequestStore(sql),
    objects: createFileObjectStore({ folder: join(folder, "data", "objects") }),
    async kill(part) {
      const service = services.get(part);
      if (!service) return void (await end(child(part as RoleName), "SIGKILL"));
      service.kill();
      await service.ended;
    },
    async restart(part) {
      const starter = starters[part as ServiceName];
      if (starter) services.set(part, await starter());
      else await ready(part, launch(part as RoleName));
    },
    launch,
    async addGpuWorker(own) {
      const first = roles.get("gpu-worker");
      const added = launch("gpu-worker", own);
      if (first) roles.set("gpu-worker", first);
      await ready("gpu-worker", added);
      return added.child;
    },
    end,
    child,
    pid: (role) => child(role).pid ?? 0,
    async running() {
      const found: string[] = [];
      for await (const { workflowId } of workflow.list({
        query: "WorkflowType = 'inferenceJob' AND ExecutionStatus = 'Running'",
      })) {
        const { raw } = await workflow.getHandle(workflowId).describe();
        if (raw.pendingActivities?.some(({ state }) => state === ACTIVITY_STARTED)) found.push(workflowId);
      }
      return found;
    },
    engines: () => engineProcesses(child("gpu-worker").pid ?? 0),
    [Symbol.asyncDispose]: () => closing[Symbol.asyncDispose](),
  };
}

/** Resolves when a role says that it is ready. */
function ready(name: string, { child, output }: RoleProcess): Promise<void> {
  return new Promise((done, fail) => {
    const look = (): void => {
      if (output().includes("is ready")) done();
    };
    child.stderr?.on("data", look);
    child.once("exit", (code) => fail(new Error(`${name} ended (${code}) before it was ready: ${output()}`)));
  });
}

function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  return new Promise((done) => {
    if (child.exitCode !== null || child.signalCode !== null) return done(child.exitCode);
    child.once("exit", (code) => done(code));
    child.kill(signal);
  });
}

/** Returns the engine processes below a process: isolated ones are not its children themselves. */
async function engineProcesses(parent: number): Promise<number[]> {
  const { readdir, readFile } = await import("node:fs/promises");
  const below = [parent];
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const all = await Promise.all(
    pids.map(async (name) => {
      const stat = await readFile(`/proc/${name}/stat`, "utf8").catch(() => "");
      const parentId = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
      const command = await readFile(`/proc/${name}/cmdline`, "utf8").catch(() => "");
      return { pid: Number(name), parentId, command };
    }),
  );
  for (const pid of below) for (const one of all) if (one.parentId === pid) below.push(one.pid);
  const isEngine = ({ command }: { command: string }) => /gpu-workers\/engines\/\w+\/main\./.test(command);
  return all.filter((one) => below.includes(one.pid) && isEngine(one)).map(({ pid }) => pid);
}
