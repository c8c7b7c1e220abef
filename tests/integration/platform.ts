/** A platform of its own for a test file: Temporal in memory, a cloned database, a Redis prefix, a folder. */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Client, Connection, WorkflowNotFoundError } from "@temporalio/client";
import { connectPostgres, type Sql } from "../../src/adapters/postgres/connection.ts";
import { createSecretStore } from "../../src/adapters/postgres/operations/secret-store.ts";
import { createRequestStore } from "../../src/adapters/postgres/requests/request-store.ts";
import { createBacklog } from "../../src/adapters/temporal/backlog.ts";
import type { Addresses } from "../../src/bin/addresses.ts";
import { startGateway } from "../../src/bin/gateway.ts";
import { openRegistry } from "../../src/bin/open-registry.ts";
import { openParts, type Parts } from "../../src/bin/parts.ts";
import { type Platform, startPlatform } from "../../src/bin/platform.ts";
import { createPlatformClient, type PlatformClient } from "../../src/cli/platform-client.ts";
import { loadConfig } from "../../src/config/load-config.ts";
import { createLogger } from "../../src/config/logger.ts";
import type { Config } from "../../src/config/settings.ts";
import { createCloseStack } from "../../src/core/operations/close-stack.ts";
import { ORCHESTRATOR_QUEUE } from "../../src/core/requests/job.ts";
import type { DeadLetter, RequestRecord } from "../../src/core/requests/request-store.ts";
import { freePort } from "../../src/dev/services/port.ts";
import { startTemporal } from "../../src/dev/services/temporal.ts";
import { testDatabase } from "../setup/test-database.ts";

const PROJECT = resolve(import.meta.dirname, "../..");

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
  /** The state of a workflow, or undefined where there is none: what the server holds now. */
  workflow(id: string): Promise<string | undefined>;
  /**
   * Ids and states of the workflows of a type that started since then: what Temporal lists, which is behind
   * what it holds.
   */
  workflowsSince(start: Date, type: string): Promise<Map<string, string>>;
  /** Another gateway on the same stores, in a process of its own. */
  secondGateway(env?: Record<string, string>): Promise<{ url: string; stop(): Promise<void> }>;
  /** The stores that it all is on. */
  sql: Sql;
  temporal: Client;
  folder: string;
  /** Runs a workflow of the orchestrator to its end. */
  run<T>(workflowType: string, args: unknown[]): Promise<T>;
  /** Another gateway on the same stores, in this process with parts of its own, which a test may look at. */
  gatewayHere(addresses?: Partial<Addresses>): Promise<GatewayHere>;
  databaseUrl: string;
  config: Config;
}

interface GatewayHere extends AsyncDisposable {
  parts: Parts;
  url: string;
  call(path: string, init?: RequestInit): Promise<Response>;
}

export async function startTestPlatform(env: Record<string, string> = {}): Promise<TestPlatform> {
  const folder = await mkdtemp(join(tmpdir(), "tempera-test-"));
  const database = await testDatabase();
  const temporal = await startTemporal({ folder: join(folder, "temporal"), inMemory: true, log: () => {} });
  const settings = {
    TEMPERA_ADMIN_PORT: "0",
    TEMPERA_DATA: folder,
    TEMPERA_LOG_LEVEL: "silent",
    TEMPERA_TEST_MODELS: "true",
    // One owner crashes the stub's engine in test after test.
    TEMPERA_ENGINE_CRASHES_OF_OWNER: "1000",
    DATABASE_URL: database.url,
    REDIS_URL: process.env.TEST_REDIS_URL,
    TEMPERA_REDIS_PREFIX: `test-${randomUUID()}:`,
    TEMPORAL_ADDRESS: temporal.url,
    ...env,
  };
  const config = loadConfig({ TEMPERA_PORT: String(await freePort()), ...settings });
  const platform = await startPlatform(config, createLogger(config.log, "test"), () => {});
  const sql = connectPostgres(database.url, { maxConnections: 1 });
  const closing = createCloseStack();
  const requests = createRequestStore(sql);
  const connection = await Connection.connect({ address: temporal.url });
  const client = new Client({ connection, namespace: config.temporal.namespace });
  const backlog = createBacklog(client);
  return {
    platform,
    folder,
    run: (workflowType, args) =>
      client.workflow.execute(workflowType, {
        workflowId: `${workflowType}/${randomUUID()}`,
        taskQueue: ORCHESTRATOR_QUEUE,
        args,
      }),
    databaseUrl: database.url,
    config,
    gatewayHere: async (addresses = {}) => {
      const own = loadConfig({ TEMPERA_PORT: String(await freePort()), ...settings });
      const log = createLogger(own.log, "second gateway");
      const redisUrl = own.redis.url;
      const parts = await openParts(
        own,
        await openRegistry(own),
        { temporal: temporal.url, databaseUrl: database.url, ...(redisUrl && { redisUrl }), ...addresses },
        log,
      );
      const gateway = await startGateway(parts);
      const url = `http://localhost:${gateway.port}`;
      return {
        parts,
        url,
        call: (path, init = {}) =>
          fetch(`${url}${path}`, {
            ...init,
            headers: { authorization: `Key ${platform.key}`, ...init.headers },
          }),
        async [Symbol.asyncDispose]() {
          await gateway.stop();
          await parts[Symbol.asyncDispose]();
        },
      };
    },
    deadLetters: () => requests.deadLetters(1_000),
    record: async (requestId) => {
      for (;;) {
        const found = await requests.find(requestId);
        if (found?.outcome) return found;
      }
    },
    secret: createSecretStore(sql).secret,
    backlog: (endpoint) => backlog(`gpu/${endpoint}/1.0.0`),
    workflow: (id) =>
      client.workflow
        .getHandle(id)
        .describe()
        .then(({ status }) => status.name)
        .catch((error) => {
          if (error instanceof WorkflowNotFoundError) return undefined;
          throw error;
        }),
    workflowsSince: async (start, type) => {
      const found = new Map<string, string>();
      const query = `WorkflowType = '${type}' AND StartTime >= '${start.toISOString()}'`;
      for await (const { workflowId, status } of client.workflow.list({ query }))
        found.set(workflowId, status.name);
      return found;
    },
    sql,
    temporal: client,
    secondGateway: async (more = {}) => {
      const port = await freePort();
      const child = spawn(process.execPath, ["--import", "tsx", join(PROJECT, "src/bin/gateway.ts")], {
        cwd: PROJECT,
        env: {
          ...process.env,
          TEMPERA_PORT: String(port),
          TEMPERA_DATA: folder,
          TEMPERA_LOG_FORMAT: "json",
          TEMPERA_TEST_MODELS: "true",
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
      fetch(`${platform.url}${path}`, {
        ...init,
        headers: { authorization: `Key ${platform.key}`, ...init.headers },
      }),
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
