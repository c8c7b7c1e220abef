/**
 * `node --import tsx tests/load/bench-realtime.ts`: how long a frame takes to the engine and back. Every role is a process of
 * its own and frames travel over Redis, as in production; then the embedded default; beside both a bare WebSocket echo.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { encode } from "@msgpack/msgpack";
import { Command } from "commander";
import { WebSocket, WebSocketServer } from "ws";
import { createClosing } from "../../src/core/closing.ts";
import { freePort } from "../../src/dev/services/port.ts";
import { startPostgres } from "../../src/dev/services/postgres.ts";
import { startRedis } from "../../src/dev/services/redis.ts";
import { startTemporal } from "../../src/dev/services/temporal.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const STUB = "tempera/stub";

const options = new Command("bench:realtime")
  .description("round trips of realtime frames through the stub engine")
  .option("--json", "print the figures as JSON")
  .option("--check", "exit 1 when a measure falls short")
  .option("--scale <n>", "frames of a round, as a factor", "1")
  .parse()
  .opts<{ json?: boolean; check?: boolean; scale: string }>();
const scale = Number(options.scale);
const say = (line: string): void => void process.stderr.write(`${line}\n`);

const percentile = (values: number[], p: number): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100))] ?? Number.NaN;
};
const round = (value: number): number => Math.round(value * 100) / 100;
const summary = (ms: number[], seconds?: number) => ({
  p50_ms: round(percentile(ms, 50)),
  p99_ms: round(percentile(ms, 99)),
  ...(seconds && { frames_per_second: Math.round(ms.length / seconds) }),
});

const closing = createClosing();
const folder = await mkdtemp(join(tmpdir(), "tempera-bench-"));
closing.defer(() => rm(folder, { recursive: true, force: true }));

/** Starts a program of the project and waits for the line that says it is ready. */
async function start(program: string, env: Record<string, string>, ready: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, ["--import", "tsx", join(PROJECT, program)], {
    cwd: PROJECT,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  closing.defer(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((done) => child.once("exit", done));
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), 10_000);
    await ended;
    clearTimeout(timer);
  });
  await new Promise<void>((done, fail) => {
    let said = "";
    const listen = (chunk: Buffer): void => {
      said = (said + chunk).slice(-4000);
      if (said.includes(ready)) done();
    };
    child.stdout?.on("data", listen);
    child.stderr?.on("data", listen);
    child.once("exit", (code) => fail(new Error(`${program} ended (${code}) before it was ready: ${said}`)));
  });
  return child;
}

interface Socket {
  /** Sends one frame and resolves with the milliseconds until its output is here. */
  roundTrip(frame: Uint8Array): Promise<number>;
  close(): Promise<void>;
}

async function connect(url: string, key?: string): Promise<Socket> {
  const ws = new WebSocket(url, { perMessageDeflate: false, ...(key && { headers: { authorization: `Key ${key}` } }) });
  let answered = (): void => {};
  let broke = (_: Error): void => {};
  ws.on("message", (data, isBinary) => {
    if (isBinary) return answered();
    const { type, error, reason } = JSON.parse(String(data));
    if (type !== "x-fal-message") broke(new Error(`${error}: ${reason}`));
  });
  ws.on("close", (code) => broke(new Error(`the socket closed with ${code}`)));
  await new Promise((open, fail) => ws.once("open", open).once("error", fail));
  return {
    roundTrip: (frame) =>
      new Promise((done, fail) => {
        const startedAtMs = performance.now();
        answered = () => done(performance.now() - startedAtMs);
        broke = fail;
        ws.send(frame);
      }),
    close: () =>
      new Promise((done) => {
        ws.once("close", () => done());
        ws.close(1000);
      }),
  };
}

const small = encode({ prompt: "a small frame" });
const picture = encode({ payload: randomBytes(100 * 1024) });

/** One socket at a time: connect → first output, then small frames, then frames of 100 KiB; then sixteen sockets at once. */
async function measure(url: string, key?: string) {
  const first: number[] = [];
  for (let i = 0; i < 10 * scale; i++) {
    const startedAtMs = performance.now();
    const socket = await connect(url, key);
    await socket.roundTrip(small);
    first.push(performance.now() - startedAtMs);
    await socket.close();
  }
  const trips = async (socket: Socket, frame: Uint8Array, count: number): Promise<number[]> => {
    const ms: number[] = [];
    for (let i = 0; i < count; i++) ms.push(await socket.roundTrip(frame));
    return ms;
  };
  const socket = await connect(url, key);
  await trips(socket, small, 200);
  const smallMs = await trips(socket, small, 1000 * scale);
  await trips(socket, picture, 20);
  const pictureMs = await trips(socket, picture, 200 * scale);
  await socket.close();
  const sockets = await Promise.all(Array.from({ length: 16 }, () => connect(url, key)));
  await Promise.all(sockets.map((each) => trips(each, small, 20)));
  const startedAtMs = performance.now();
  const manyMs = (await Promise.all(sockets.map((each) => trips(each, small, 200 * scale)))).flat();
  const seconds = (performance.now() - startedAtMs) / 1000;
  await Promise.all(sockets.map((each) => each.close()));
  return {
    connect_to_first_output: summary(first),
    small: summary(smallMs),
    picture_100_kib: summary(pictureMs),
    sixteen_sockets: summary(manyMs, seconds),
  };
}

const checks: { name: string; value: number; limit: number; pass: boolean }[] = [];
const atMost = (name: string, value: number, limit: number): void =>
  void checks.push({ name, value: round(value), limit, pass: value <= limit });

try {
  const bareServer = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  bareServer.on("connection", (ws) => ws.on("message", (data) => ws.send(data as Buffer, { binary: true })));
  await new Promise((open) => bareServer.once("listening", open));
  closing.defer(() => new Promise((done) => bareServer.close(done)));
  const bare = await measure(`ws://127.0.0.1:${(bareServer.address() as { port: number }).port}`);
  say(`bare echo: ${JSON.stringify(bare)}`);

  say("starting services …");
  const quiet = { log: () => {} };
  const [temporal, postgres, redis] = await Promise.all([
    startTemporal({ folder: join(folder, "temporal"), inMemory: true, ...quiet }),
    startPostgres({ folder: join(folder, "postgres"), ...quiet }),
    startRedis({ folder: join(folder, "redis"), ...quiet }),
  ]);
  for (const service of [temporal, postgres, redis]) closing.defer(() => service.stop());
  const key = `${randomUUID()}:${randomBytes(32).toString("hex")}`;
  const port = await freePort();
  const shared = {
    DATABASE_URL: postgres.url,
    REDIS_URL: redis.url,
    TEMPORAL_ADDRESS: temporal.url,
    TEMPERA_PORT: String(port),
    TEMPERA_ADMIN_PORT: String(await freePort()),
    TEMPERA_ADMIN_KEY: key,
    TEMPERA_DATA: join(folder, "data"),
    TEMPERA_WORKER_MODELS: STUB,
  };
  await start("src/bin/admin.ts", shared, "is ready"); // makes the key, the tables and the namespace
  await Promise.all(["orchestrator", "gpu-worker", "gateway"].map((role) => start(`src/bin/${role}.ts`, shared, "is ready")));
  const production = await measure(`ws://127.0.0.1:${port}/${STUB}/realtime`, key);
  say(`a process each, over Redis: ${JSON.stringify(production)}`);

  const embeddedPort = await freePort();
  await start(
    "src/bin/all-in-one.ts",
    {
      TEMPERA_PORT: String(embeddedPort),
      TEMPERA_ADMIN_PORT: String(await freePort()),
      TEMPERA_TEMPORAL_PORT: String(await freePort()),
      TEMPERA_TEMPORAL_UI_PORT: String(await freePort()),
      TEMPERA_POSTGRES_PORT: String(await freePort()),
      TEMPERA_ADMIN_KEY: key,
      TEMPERA_DATA: join(folder, "embedded"),
      TEMPERA_WORKER_MODELS: STUB,
    },
    "Ctrl-C stops it",
  );
  const embedded = await measure(`ws://127.0.0.1:${embeddedPort}/${STUB}/realtime`, key);
  say(`embedded default: ${JSON.stringify(embedded)}`);

  atMost("round trip of a small frame p50, over Redis, ms", production.small.p50_ms, 10);
  atMost("round trip of a small frame p50, embedded, ms", embedded.small.p50_ms, 10);
  atMost("round trip of 100 KiB p50, over Redis, ms", production.picture_100_kib.p50_ms, 40);
  atMost("connect to first output p50, over Redis, ms", production.connect_to_first_output.p50_ms, 250);
  const report = { bare_echo: bare, over_redis: production, embedded, checks };
  if (options.json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  else
    for (const { name, value, limit, pass } of checks)
      process.stdout.write(`${pass ? "pass" : "FAIL"}  ${name}: ${value} (limit ${limit})\n`);
  if (options.check && checks.some(({ pass }) => !pass)) process.exitCode = 1;
} finally {
  await closing[Symbol.asyncDispose]();
}
