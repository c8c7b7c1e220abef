/** A platform of its own for a test file: Temporal in memory, a cloned database, a Redis prefix, a folder. */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Client, Connection } from "@temporalio/client";
import { connectPostgres, type Sql } from "../../src/adapters/postgres/connection.ts";
import { createRequestStore } from "../../src/adapters/postgres/request-store.ts";
import { createSecretStore } from "../../src/adapters/postgres/secret-store.ts";
import { type Platform, startPlatform } from "../../src/bin/platform.ts";
import { createPlatformClient, type PlatformClient } from "../../src/cli/platform-client.ts";
import { loadConfig } from "../../src/config/load-config.ts";
import { createLogger } from "../../src/config/logger.ts";
import { createClosing } from "../../src/core/closing.ts";
import type { DeadLetter, RequestRecord } from "../../src/core/ports/request-store.ts";
import { freePort } from "../../src/dev/services/port.ts";
import { startTemporal } from "../../src/dev/services/temporal.ts";
import { testDatabase } from "../setup/test-database.ts";

const PROJECT = resolve(import.meta.dirname, "../..");

/** TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY of Temporal's API. */
const ACTIVITY_QUEUE = 2;

export interface TestPlatform extends AsyncDisposable {
  platform: Platform;
  client: PlatformClient;
  /** `fetch` on the gateway, with the key. */
  call(path: string, init?: RequestInit): Promise<Response>;
  deadLetters(): Promise<DeadLetter[]>;
  /** What Postgres keeps of a request, once it has ended. */
  record(requestId: string): Promise<RequestRecord | undefined>;
  /** A secret of the installation. */
  secret(name: "uploads"): Promise<Uint8Array>;
  /** Tasks that wait in an endpoint's GPU task queue. */
  backlog(endpoint: string): Promise<number>;
  /** Ids and states of the workflows of a type, as Temporal lists them. */
  workflows(type: string): Promise<Map<string, string>>;
  /** Another gateway on the same stores, in a process of its own. */
  secondGateway(env?: Record<string, string>): Promise<{ url: string; stop(): Promise<void> }>;
  /** The stores that it all is on. */
  sql: Sql;
  temporal: Client;
  folder: string;
  databaseUrl: string;
}

export async function startTestPlatform(env: Record<string, string> = {}): Promise<TestPlatform> {
  const folder = await mkdtemp(join(tmpdir(), "tempera-test-"));
  const database = await testDatabase();
  const temporal = await startTemporal({ folder: join(folder, "temporal"), inMemory: true, log: () => {} });
  const config = loadConfig({
    TEMPERA_PORT: String(await freePort()),
    TEMPERA_ADMIN_PORT: "0",
    TEMPERA_DATA: folder,
    TEMPERA_LOG_LEVEL: "silent",
    DATABASE_URL: database.url,
    REDIS_URL: process.env.TEST_REDIS_URL,
    TEMPERA_REDIS_PREFIX: `test-${randomUUID()}:`,
    TEMPORAL_ADDRESS: temporal.url,
    ...env,
  });
  const platform = await startPlatform(config, createLogger(config.log, "test"), () => {});
  const sql = connectPostgres(database.url, { maxConnections: 1 });
  const closing = createClosing();
  const requests = createRequestStore(sql);
  const connection = await Connection.connect({ address: temporal.url });
  return {
    platform,
    folder,
    databaseUrl: database.url,
    deadLetters: () => requests.deadLetters(1_000),
    record: async (requestId) => {
      for (;;) {
        const found = await requests.find(requestId);
        if (found?.outcome) return found;
      }
    },
    secret: createSecretStore(sql).secret,
    backlog: async (endpoint) => {
      const { stats } = await connection.workflowService.describeTaskQueue({
        namespace: config.temporal.namespace,
        taskQueue: { name: `gpu/${endpoint}/1.0.0` },
        taskQueueType: ACTIVITY_QUEUE,
        reportStats: true,
      });
      return Number(stats?.approximateBacklogCount ?? 0);
    },
    workflows: async (type) => {
      const found = new Map<string, string>();
      const { workflow } = new Client({ connection, namespace: config.temporal.namespace });
      for await (const { workflowId, status } of workflow.list({ query: `WorkflowType = '${type}'` })) found.set(workflowId, status.name);
      return found;
    },
    sql,
    temporal: new Client({ connection, namespace: config.temporal.namespace }),
    secondGateway: async (more = {}) => {
      const port = await freePort();
      const child = spawn(process.execPath, ["--import", "tsx", join(PROJECT, "src/bin/gateway.ts")], {
        cwd: PROJECT,
        env: {
          ...process.env,
          TEMPERA_PORT: String(port),
          TEMPERA_DATA: folder,
          TEMPERA_LOG_FORMAT: "json",
          DATABASE_URL: database.url,
          REDIS_URL: config.redis.url,
          TEMPERA_REDIS_PREFIX: config.redis.prefix,
          TEMPORAL_ADDRESS: temporal.url,
          ...more,
        },
        stdio: ["ignore", "pipe", "pipe"],
      });
      const ended = new Promise<void>((done) => child.once("exit", () => done()));
      const stop = async () => {
        child.kill("SIGTERM");
        await ended;
      };
      closing.defer(stop);
      await new Promise<void>((ready, fail) => {
        let said = "";
        const listen = (chunk: Buffer): void => {
          said = (said + chunk).slice(-4000);
          if (said.includes("is ready")) ready();
        };
        child.stdout.on("data", listen);
        child.stderr.on("data", listen);
        void ended.then(() => fail(new Error(`the second gateway ended before it was ready: ${said}`)));
      });
      return { url: `http://localhost:${port}`, stop };
    },
    client: createPlatformClient(platform),
    call: (path, init = {}) =>
      fetch(`${platform.url}${path}`, { ...init, headers: { authorization: `Key ${platform.key}`, ...init.headers } }),
    async [Symbol.asyncDispose]() {
      await closing[Symbol.asyncDispose]();
      await sql.end();
      await connection.close();
      await platform.stop();
      await temporal.stop();
      await database[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
