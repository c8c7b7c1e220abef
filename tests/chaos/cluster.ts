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
import { freePort } from "../../src/dev/services/port.ts";
import { startPostgres } from "../../src/dev/services/postgres.ts";
import { startRedis } from "../../src/dev/services/redis.ts";
import type { Service } from "../../src/dev/services/service.ts";
import { startTemporal } from "../../src/dev/services/temporal.ts";

/** PendingActivityState.PENDING_ACTIVITY_STATE_STARTED of Temporal's API. */
const ACTIVITY_STARTED = 2;

const PROJECT = resolve(import.meta.dirname, "../..");

export const ROLES = ["gateway", "orchestrator", "gpu-worker"] as const;
export const SERVICES = ["temporal", "postgres", "redis"] as const;
export type Part = (typeof ROLES)[number] | (typeof SERVICES)[number];

export interface Cluster extends AsyncDisposable {
  client: PlatformClient;
  requests: RequestStore;
  objects: ObjectStore;
  url: string;
  databaseUrl: string;
  /** A key of scope ADMIN. */
  key: string;
  /** Kills a part with SIGKILL; resolves when its process has ended. */
  kill(part: Part): Promise<void>;
  /** Starts a killed part again; resolves when it is ready. */
  restart(part: Part): Promise<void>;
  /** Starts one more GPU worker, which is killed with the cluster; resolves when it is ready. */
  addGpuWorker(more: Record<string, string>): Promise<ChildProcess>;
  /**
   * Sends a signal to a role or an added worker; resolves with its exit code, `null` when the signal killed
   * it.
   */
  end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null>;
  /** Returns the process of a role. */
  child(role: (typeof ROLES)[number]): ChildProcess;
  /** Returns the process id of a role. */
  pid(role: (typeof ROLES)[number]): number;
  /** Returns the requests that GPU workers have started. */
  running(): Promise<string[]>;
  /** Returns the process ids of the engines. */
  engines(): Promise<number[]>;
}

export async function startCluster(models: string, more: Record<string, string> = {}): Promise<Cluster> {
  const closing = createCloseStack();
  const folder = await mkdtemp(join(tmpdir(), "tempera-chaos-"));
  closing.defer(() => rm(folder, { recursive: true, force: true }));
  const log = (): void => {};
  const ports = {
    temporal: await freePort(),
    postgres: await freePort(),
    redis: await freePort(),
    gateway: await freePort(),
    admin: await freePort(),
  };
  const starters: Record<(typeof SERVICES)[number], () => Promise<Service>> = {
    temporal: () => startTemporal({ folder: join(folder, "temporal"), port: ports.temporal, log }),
    postgres: () => startPostgres({ folder: join(folder, "postgres"), port: ports.postgres, log }),
    redis: () => startRedis({ folder: join(folder, "redis"), port: ports.redis, log }),
  };
  const services = new Map<Part, Service>();
  const roles = new Map<Part, ChildProcess>();
  await Promise.all(SERVICES.map(async (name) => services.set(name, await starters[name]())));
  closing.defer(() => Promise.all([...services.values()].map((service) => service.stop())));

  const key = `${randomUUID()}:${randomBytes(32).toString("hex")}`;
  const databaseUrl = services.get("postgres")?.url ?? "";
  const env = {
    ...process.env,
    DATABASE_URL: databaseUrl,
    REDIS_URL: services.get("redis")?.url,
    TEMPORAL_ADDRESS: services.get("temporal")?.url,
    TEMPERA_PORT: String(ports.gateway),
    TEMPERA_ADMIN_PORT: String(ports.admin),
    TEMPERA_ADMIN_KEY: key,
    TEMPERA_DATA: join(folder, "data"),
    TEMPERA_WORKER_MODELS: models,
    TEMPERA_LOG_LEVEL: "info",
    TEMPERA_ALLOW_PRIVATE_ADDRESSES: "127.0.0.0/8",
    TEMPERA_SESSIONS_MAX: "64",
    TEMPERA_WEBHOOK_DELAYS: "3,1,1",
    ...more,
  };
  const startProcess = async (name: string, own: Record<string, string> = {}): Promise<ChildProcess> => {
    const child = spawn(process.execPath, ["--import", "tsx", join(PROJECT, `src/bin/${name}.ts`)], {
      cwd: PROJECT,
      env: { ...env, ...own },
      stdio: ["ignore", "ignore", "pipe"],
    });
    await new Promise<void>((done, fail) => {
      let output = "";
      child.stderr.on("data", (chunk: Buffer) => {
        output = (output + chunk).slice(-8000);
        if (output.includes("is ready")) done();
      });
      child.once("exit", (code) => fail(new Error(`${name} ended (${code}) before it was ready: ${output}`)));
    });
    return child;
  };
  const startRole = async (name: string): Promise<void> =>
    void roles.set(name as Part, await startProcess(name));
  const end = (child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> =>
    new Promise((done) => {
      if (child.exitCode !== null || child.signalCode !== null) return done(child.exitCode);
      child.once("exit", (code) => done(code));
      child.kill(signal);
    });
  const added: ChildProcess[] = [];
  closing.defer(() => Promise.all([...roles.values(), ...added].map((child) => end(child, "SIGKILL"))));
  await startRole("admin");
  await Promise.all(ROLES.map(startRole));
  const sql = connectPostgres(databaseUrl, { maxConnections: 1 });
  closing.defer(() => sql.end({ timeout: 1 }));

  const connection = await Connection.connect({ address: services.get("temporal")?.url ?? "" });
  closing.defer(() => connection.close());
  const { workflow } = new Client({ connection, namespace: "tempera" });

  const url = `http://127.0.0.1:${ports.gateway}`;
  return {
    url,
    databaseUrl,
    key,
    client: createPlatformClient({ url, adminUrl: `http://127.0.0.1:${ports.admin}`, key }),
    requests: createRequestStore(sql),
    objects: createFileObjectStore({ folder: join(folder, "data", "objects") }),
    async kill(part) {
      const service = services.get(part);
      if (service) {
        service.kill();
        await service.ended;
        return;
      }
      await end(roles.get(part) as ChildProcess, "SIGKILL");
    },
    async restart(part) {
      const starter = starters[part as (typeof SERVICES)[number]];
      if (starter) services.set(part, await starter());
      else await startRole(part);
    },
    async addGpuWorker(own) {
      const child = await startProcess("gpu-worker", own);
      added.push(child);
      return child;
    },
    end,
    child: (role) => roles.get(role) as ChildProcess,
    pid: (role) => roles.get(role)?.pid ?? 0,
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
    engines: () => engineProcesses(roles.get("gpu-worker")?.pid ?? 0),
    [Symbol.asyncDispose]: () => closing[Symbol.asyncDispose](),
  };
}

/** Returns the engine processes among the children of a process. */
async function engineProcesses(parent: number): Promise<number[]> {
  const { readdir, readFile } = await import("node:fs/promises");
  const found: number[] = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, "utf8").catch(() => "");
    const parentId = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
    if (parentId !== parent) continue;
    const command = await readFile(`/proc/${name}/cmdline`, "utf8").catch(() => "");
    if (/gpu-workers\/engines\/\w+\/main\./.test(command)) found.push(Number(name));
  }
  return found;
}
