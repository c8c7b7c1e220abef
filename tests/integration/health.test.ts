/** The health of each role: what its probes see of real services, and what its endpoints answer. */
import { type ChildProcess, spawn } from "node:child_process";
import { resolve } from "node:path";
import type { Connection } from "@temporalio/client";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { checkPostgres } from "../../src/adapters/postgres/check.ts";
import { connectPostgres } from "../../src/adapters/postgres/connection.ts";
import { createRedisCheck } from "../../src/adapters/redis/check.ts";
import { checkTemporal } from "../../src/adapters/temporal/check.ts";
import { connectTemporal } from "../../src/adapters/temporal/connect.ts";
import type { HealthView } from "../../src/api/health/routes.ts";
import type { ServiceHealth, ServiceName, ServiceState } from "../../src/core/operations/service-health.ts";
import { freePort } from "../../src/dev/services/port.ts";
import { startOwnRedis } from "../setup/own-redis.ts";
import { testDatabase } from "../setup/test-database.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";
import { startRelay } from "./relay.ts";

const STUB = "tempera/stub";
const WORKER = "worker-2";
const PROJECT = resolve(import.meta.dirname, "../..");

/** Makes a Redis refuse writes for lack of memory. */
async function fill(url: string): Promise<() => Promise<void>> {
  const client = new Redis(url, { lazyConnect: true });
  onTestFinished(() => void client.disconnect());
  await client.config("SET", "maxmemory-policy", "noeviction");
  await client.config("SET", "maxmemory", "1mb");
  return async () => void (await client.config("SET", "maxmemory", "0"));
}

describe("the check of Redis", () => {
  it("rejects with store_full while Redis has no memory for writes, and accepts only reads", async () => {
    await using server = await startOwnRedis();
    const redis = createRedisCheck({ url: server.url, tls: undefined, prefix: "test:" });
    onTestFinished(() => redis.close());
    await redis.check();
    const empty = await fill(server.url);
    await expect(redis.check()).rejects.toMatchObject({ code: "store_full", message: /\(OOM\)/ });
    await empty();
    await redis.check();
    const client = new Redis(server.url);
    onTestFinished(() => void client.disconnect());
    await client.replicaof("127.0.0.1", "1");
    await expect(redis.check()).rejects.toMatchObject({ code: "store_full", message: /\(READONLY\)/ });
  });
});

describe("the check of PostgreSQL", () => {
  it("makes the server write to its disk", async () => {
    await using database = await testDatabase();
    const sql = connectPostgres(database.url, { maxConnections: 1 });
    const written = async (): Promise<number> => {
      await sql`SELECT pg_stat_force_next_flush()`;
      const [row] = await sql`SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database()`;
      return Number(row?.temp_bytes);
    };
    const before = await written();
    await checkPostgres(sql);
    expect((await written()) - before).toBeGreaterThan(64 * 1024);
    await sql.end();
  });

  it("rejects with store_full while the server accepts only reads", async () => {
    await using database = await testDatabase();
    const sql = connectPostgres(database.url, { maxConnections: 1 });
    await checkPostgres(sql);
    await sql`SET default_transaction_read_only = on`;
    await expect(checkPostgres(sql)).rejects.toMatchObject({ code: "store_full" });
    await sql.end();
  });
});

describe("a platform", () => {
  let test: TestPlatform;
  beforeAll(async () => {
    // Its own worker does not serve the model of the one that is drained below.
    test = await startTestPlatform({ TEMPERA_WORKER_MODELS: "fal-ai/mmaudio-v2" });
  });
  afterAll(() => test[Symbol.asyncDispose]());

  const read = async (url: string): Promise<HealthView> =>
    (await (await fetch(`${url}/health`)).json()) as HealthView;
  const stateOf = ({ services }: HealthView, name: ServiceName) =>
    services.find(({ service }) => service === name);

  it("is checked by its Temporal, whose namespace must exist", async () => {
    await checkTemporal(test.temporal);
    const { address } = (test.temporal.connection as Connection).options;
    const { client, connection } = await connectTemporal({ address, namespace: "no-such-namespace" });
    await expect(checkTemporal(client)).rejects.toThrow();
    await connection.close();
  });

  it.each(["gateway", "admin"] as const)("tells the health of its %s", async (role) => {
    const url = role === "gateway" ? test.platform.url : test.platform.adminUrl;
    for (const path of ["/health/live", "/health/ready", "/health"])
      for (const method of ["GET", "HEAD"]) {
        const answer = await fetch(`${url}${path}`, { method });
        expect([path, method, answer.status]).toEqual([path, method, 200]);
        expect(answer.headers.get("cache-control")).toBe("no-store");
      }
    expect(await read(url)).toMatchObject({
      status: "ok",
      role,
      phase: "serving",
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
    });
    expect((await fetch(`${url}/health`, { method: "DELETE" })).status).toBe(405);
  });

  it("reports a full Redis, and its gateway stays ready", async () => {
    await using server = await startOwnRedis();
    await using gateway = await test.gatewayHere({ redisUrl: server.url });
    const { services } = gateway.parts.processHealth;
    await become(services, "redis", "up");
    const empty = await fill(server.url);
    await become(services, "redis", "full");
    const report = await read(gateway.url);
    expect(report.status).toBe("degraded");
    expect(stateOf(report, "redis")).toMatchObject({
      state: "full",
      since: expect.stringMatching(/^\d{4}-.*Z$/),
      detail: expect.stringContaining("OOM"),
    });
    expect((await fetch(`${gateway.url}/health/ready`)).status).toBe(200);
    await empty();
    await become(services, "redis", "up");
  });

  it("reports a PostgreSQL that is away with the time since then, and its gateway stays ready", async () => {
    const address = new URL(test.databaseUrl);
    await using relay = await startRelay(address.host);
    address.host = relay.address;
    await using gateway = await test.gatewayHere({ databaseUrl: address.href });
    const { services } = gateway.parts.processHealth;
    await become(services, "postgres", "up");
    const { since } = stateOf(await read(gateway.url), "postgres") ?? {};
    await relay.cut();
    await become(services, "postgres", "away");
    const away = stateOf(await read(gateway.url), "postgres");
    expect(away).toMatchObject({ state: "away", detail: "refuses connections" });
    expect(Date.parse(away?.since ?? "")).toBeGreaterThan(Date.parse(since ?? ""));
    expect((await fetch(`${gateway.url}/health/ready`)).status).toBe(200);
    await relay.restore();
    await become(services, "postgres", "up");
  });

  it("has an orchestrator and a GPU worker with a health port each, which tells of a drain", async () => {
    const [orchestrator, worker] = await Promise.all([start("orchestrator"), start("gpu-worker")]);
    for (const { url, role } of [orchestrator, worker]) {
      for (const path of ["/health/live", "/health/ready"])
        expect((await fetch(`${url}${path}`)).status).toBe(200);
      expect(await read(url)).toMatchObject({ status: "ok", role, phase: "serving" });
    }

    const drain = (action: string) => test.client.admin("POST", `/v1/tempera/workers/${WORKER}/${action}`);
    await drain("drain");
    while ((await read(worker.url)).phase !== "drained");
    expect(await ready(worker.url)).toEqual([503, "An operator has drained it."]);
    await drain("resume");
    while ((await read(worker.url)).phase !== "serving");

    // The worker ends no sooner than the request that it runs.
    const { request_id } = await test.client.submit(STUB, { delay_ms: 600_000 });
    for await (const { status } of test.client.follow(STUB, request_id)) if (status === "IN_PROGRESS") break;
    worker.child.kill("SIGTERM");
    await worker.said("draining");
    expect(await ready(worker.url)).toEqual([503, "It is draining."]);
    expect((await fetch(`${worker.url}/health/live`)).status).toBe(200);
    await test.client.cancel(STUB, request_id);
  });

  const ready = async (url: string) => {
    const answer = await fetch(`${url}/health/ready`);
    const { reason } = (await answer.json()) as { reason?: string };
    return [answer.status, reason];
  };

  /** Starts a role as a process of its own, on the stores of the platform. Resolves when it is ready. */
  async function start(role: "orchestrator" | "gpu-worker") {
    const port = await freePort();
    const child: ChildProcess = spawn(
      process.execPath,
      ["--import", "tsx", resolve(PROJECT, `src/bin/${role}.ts`)],
      {
        cwd: PROJECT,
        env: {
          ...process.env,
          TEMPERA_HEALTH_PORT: String(port),
          TEMPERA_DATA: test.folder,
          TEMPERA_LOG_FORMAT: "json",
          TEMPERA_WORKER_NAME: WORKER,
          TEMPERA_TEST_MODELS: "true",
          TEMPERA_WORKER_MODELS: STUB,
          TEMPERA_GRACE_SECONDS: "600",
          DATABASE_URL: test.databaseUrl,
          REDIS_URL: test.config.redis.url,
          TEMPERA_REDIS_PREFIX: test.config.redis.prefix,
          TEMPORAL_ADDRESS: test.config.temporal.address,
        },
        stdio: ["ignore", "pipe", "pipe"],
      },
    );
    let output = "";
    const listeners = new Set<() => void>();
    const hear = (chunk: Buffer): void => {
      output += chunk;
      for (const listener of listeners) listener();
    };
    child.stdout?.on("data", hear);
    child.stderr?.on("data", hear);
    const ended = new Promise<void>((done) => child.once("exit", () => done()));
    onTestFinished(async () => {
      child.kill("SIGKILL");
      await ended;
    });
    const said = (words: string) =>
      new Promise<void>((done, fail) => {
        const look = () => output.includes(words) && done();
        listeners.add(look);
        look();
        void ended.then(() => fail(new Error(`the ${role} ended: ${output.slice(-2_000)}`)));
      });
    await said(`${role} is ready`);
    return { child, role, said, url: `http://127.0.0.1:${port}` };
  }
});

/** Resolves when a service has a state. */
function become(services: ServiceHealth, service: ServiceName, state: ServiceState): Promise<void> {
  return new Promise((done) => {
    const look = () => {
      if (!services.list().some((report) => report.service === service && report.state === state)) return;
      stop();
      done();
    };
    const stop = services.onChange(look);
    look();
  });
}
