/**
 * `npm run bench:queue`: what the platform adds to bare Temporal. Both sides run in one process tree on the same Temporal
 * server, alternating; ratios of one run count, absolute times say little.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Client, Connection } from "@temporalio/client";
import { Command } from "commander";
import { Agent, request } from "undici";
import { createClosing } from "../../src/core/closing.ts";
import { freePort } from "../../src/dev/services/port.ts";
import { startPostgres } from "../../src/dev/services/postgres.ts";
import { startRedis } from "../../src/dev/services/redis.ts";
import { startTemporal } from "../../src/dev/services/temporal.ts";
import { cpuTimes } from "./cpu-time.ts";
import { httpLoad } from "./http-load.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const STUB = "tempera/stub";
const IN_FLIGHT = [1, 4, 16, 64] as const;

const options = new Command("bench:queue")
  .description("the queue API beside bare Temporal, on one server")
  .option("--json", "print the figures as JSON")
  .option("--check", "exit 1 when a measure falls short")
  .option("--rounds <n>", "alternating rounds of each side", "5")
  .option("--scale <n>", "jobs of a round, as a factor", "1")
  .parse()
  .opts<{ json?: boolean; check?: boolean; rounds: string; scale: string }>();
const rounds = Number(options.rounds);
const say = (line: string): void => void process.stderr.write(`${line}\n`);

const percentile = (values: number[], p: number): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100))] ?? Number.NaN;
};
const round = (value: number): number => Math.round(value * 100) / 100;

interface Side {
  /** CPU milliseconds by process. */
  cpu: Record<string, number>;
  submitMs: number[];
  /** Each submit less the Temporal start inside it, which the gateway tells in `Server-Timing`. */
  gatewayMs: number[];
  wholeMs: number[];
  jobs: number;
  seconds: number;
}
const newSide = (): Side => ({ submitMs: [], gatewayMs: [], wholeMs: [], jobs: 0, seconds: 0, cpu: {} });
const summary = ({ submitMs, wholeMs, jobs, seconds, cpu }: Side) => ({
  submit_ms: { p50: round(percentile(submitMs, 50)), p99: round(percentile(submitMs, 99)) },
  submit_to_output_ms: { p50: round(percentile(wholeMs, 50)), p99: round(percentile(wholeMs, 99)) },
  jobs_per_second: round(jobs / seconds),
  cpu_ms_per_job: Object.fromEntries(Object.entries(cpu).map(([name, ms]) => [name, round(ms / jobs)])),
});

/** Who uses CPU time, by process id. */
const processes: Record<string, number> = { client: process.pid };

/**
 * Runs one job. `closed` settles when its workflow has: a job counts as in flight until then on both sides, so that
 * both keep the same number of workflows open on the server while latencies are taken.
 */
type Job = () => Promise<{ submitMs: number; gatewayMs?: number; wholeMs: number; closed?: Promise<unknown> | undefined }>;

async function runRound(side: Side | undefined, job: Job, inFlight: number, jobs: number): Promise<void> {
  let left = jobs;
  const before = cpuTimes(processes);
  const startedAtMs = performance.now();
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      while (left-- > 0) {
        const { submitMs, gatewayMs, wholeMs, closed } = await job();
        side?.submitMs.push(submitMs);
        if (gatewayMs !== undefined) side?.gatewayMs.push(gatewayMs);
        side?.wholeMs.push(wholeMs);
        await closed;
      }
    }),
  );
  if (!side) return;
  side.jobs += jobs;
  side.seconds += (performance.now() - startedAtMs) / 1000;
  for (const [name, ms] of Object.entries(cpuTimes(processes))) side.cpu[name] = (side.cpu[name] ?? 0) + ms - (before[name] ?? 0);
}

const closing = createClosing();
const folder = await mkdtemp(join(tmpdir(), "tempera-bench-"));
closing.defer(() => rm(folder, { recursive: true, force: true }));

/** Starts a program of the project and waits for the line that says it is ready. */
async function start(program: string, env: Record<string, string>, ready: string): Promise<ChildProcess> {
  const name = program.split("/").at(-1)?.replace(".ts", "") ?? program;
  const child = spawn(process.execPath, ["--import", "tsx", join(PROJECT, program)], {
    cwd: PROJECT,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  processes[name] = child.pid ?? 0;
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

/** One job through the HTTP API, as a client that waits on the status stream. */
const throughGateway =
  (url: string, key: string, agent: Agent, client?: Client): Job =>
  async () => {
    const headers = { authorization: `Key ${key}`, "content-type": "application/json" };
    const startedAtMs = performance.now();
    const submitted = await request(`${url}/queue/${STUB}`, { method: "POST", headers, body: "{}", dispatcher: agent });
    const body = (await submitted.body.json()) as { request_id: string };
    const submitMs = performance.now() - startedAtMs;
    const startMs = Number(/temporal;dur=([\d.]+)/.exec(String(submitted.headers["server-timing"]))?.[1]);
    if (submitted.statusCode !== 200) throw new Error(`submit: ${submitted.statusCode} ${JSON.stringify(body)}`);
    const address = `${url}/queue/${STUB}/requests/${body.request_id}`;
    const stream = await request(`${address}/status/stream`, { headers, dispatcher: agent });
    let text = "";
    for await (const chunk of stream.body) {
      text = (text + chunk).slice(-2000);
      if (text.includes('"COMPLETED"')) break;
    }
    const result = await request(address, { headers, dispatcher: agent });
    const output = await result.body.json();
    const wholeMs = performance.now() - startedAtMs;
    if (result.statusCode !== 200) throw new Error(`result: ${result.statusCode} ${JSON.stringify(output)}`);
    return { submitMs, gatewayMs: submitMs - startMs, wholeMs, closed: client?.workflow.getHandle(body.request_id).result() };
  };

const checks: { name: string; value: number; limit: number; pass: boolean }[] = [];
const atMost = (name: string, value: number, limit: number): void =>
  void checks.push({ name, value: round(value), limit, pass: value <= limit });
const atLeast = (name: string, value: number, limit: number): void =>
  void checks.push({ name, value: round(value), limit, pass: value >= limit });

try {
  say("starting services …");
  const quiet = { log: () => {} };
  const [temporal, postgres, redis] = await Promise.all([
    startTemporal({ folder: join(folder, "temporal"), inMemory: true, ...quiet }),
    startPostgres({ folder: join(folder, "postgres"), ...quiet }),
    startRedis({ folder: join(folder, "redis"), ...quiet }),
  ]);
  for (const service of [temporal, postgres, redis]) closing.defer(() => service.stop());
  Object.assign(processes, { temporal: temporal.pid, postgres: postgres.pid, redis: redis.pid });
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
    TEMPERA_LOG_LEVEL: "info",
    TEMPERA_LOG_FORMAT: "json",
  };
  await start("src/bin/admin.ts", shared, "is ready"); // makes the key, the tables and the namespace
  await Promise.all([
    start("src/bin/orchestrator.ts", shared, "is ready"),
    start("src/bin/gpu-worker.ts", shared, "is ready"),
    start("src/bin/gateway.ts", shared, "is ready"),
    start("tests/load/bare-worker.ts", shared, "ready"),
  ]);
  const connection = await Connection.connect({ address: temporal.url });
  closing.defer(() => connection.close());
  const client = new Client({ connection, namespace: temporal.namespace });
  const agent = new Agent({ connections: 256, pipelining: 1 });
  closing.defer(() => agent.close());

  const bareJob: Job = async () => {
    const startedAtMs = performance.now();
    const handle = await client.workflow.start("bare", { taskQueue: "bare", workflowId: randomUUID(), args: [{}] });
    const submitMs = performance.now() - startedAtMs;
    await handle.result();
    return { submitMs, wholeMs: performance.now() - startedAtMs };
  };
  const url = `http://127.0.0.1:${port}`;
  const gatewayJob = throughGateway(url, key, agent, client);

  say("warming up …");
  for (const job of [bareJob, gatewayJob, bareJob, gatewayJob]) await runRound(undefined, job, 16, 200);

  const queue: Record<string, { bare: ReturnType<typeof summary>; tempera: ReturnType<typeof summary> }> = {};
  const sides = new Map<number, { bare: Side; tempera: Side }>();
  for (const inFlight of IN_FLIGHT) {
    const bare = newSide();
    const tempera = newSide();
    const jobs = Math.round((inFlight === 1 ? 60 : 40 + inFlight * 8) * Number(options.scale));
    for (let i = 0; i < rounds; i++) {
      const order: [Side, Job][] = [
        [bare, bareJob],
        [tempera, gatewayJob],
      ];
      for (const [side, job] of i % 2 === 0 ? order : order.reverse()) await runRound(side, job, inFlight, jobs);
    }
    sides.set(inFlight, { bare, tempera });
    queue[inFlight] = { bare: summary(bare), tempera: summary(tempera) };
    say(
      `${inFlight} in flight: bare ${JSON.stringify(queue[inFlight]?.bare)}\n${" ".repeat(String(inFlight).length)}        tempera ${JSON.stringify(queue[inFlight]?.tempera)}`,
    );
  }
  const side = (inFlight: number): { bare: Side; tempera: Side } => sides.get(inFlight) as { bare: Side; tempera: Side };
  for (const inFlight of [1, 4]) {
    atMost(
      `submit p50 / bare workflow start p50, ${inFlight} in flight`,
      percentile(side(inFlight).tempera.submitMs, 50) / percentile(side(inFlight).bare.submitMs, 50),
      1.5,
    );
  }
  atMost("gateway time (submit less the Temporal start inside it) p99, 4 in flight, ms", percentile(side(4).tempera.gatewayMs, 99), 20);
  for (const inFlight of [1, 16]) {
    atMost(
      `submit to output p50 / bare p50, ${inFlight} in flight`,
      percentile(side(inFlight).tempera.wholeMs, 50) / percentile(side(inFlight).bare.wholeMs, 50),
      1,
    );
  }
  atLeast(
    "jobs/s / bare jobs/s, 16 in flight",
    side(16).tempera.jobs / side(16).tempera.seconds / (side(16).bare.jobs / side(16).bare.seconds),
    0.8,
  );

  say("status reads …");
  const finished = await request(`${url}/queue/${STUB}`, {
    method: "POST",
    headers: { authorization: `Key ${key}` },
    body: "{}",
    dispatcher: agent,
  });
  const { request_id: requestId } = (await finished.body.json()) as { request_id: string };
  const statusPath = `/queue/${STUB}/requests/${requestId}/status`;
  const statusHeaders = { authorization: `Key ${key}` };
  let statusBody = "";
  for (;;) {
    const answer = await request(`${url}${statusPath}`, { headers: statusHeaders, dispatcher: agent });
    statusBody = await answer.body.text();
    if (answer.statusCode === 200) break;
  }
  const routePort = await freePort();
  const redisKey = `tempera:{${requestId}}:snapshot`;
  await start(
    "tests/load/bare-route.ts",
    { REDIS_URL: redis.url, PORT: String(routePort), BODY_BYTES: String(statusBody.length - 40) },
    "ready",
  );
  const reads = { bare: [] as number[], tempera: [] as number[] };
  for (let i = 0; i < rounds + 1; i++) {
    const load = { connections: 32, seconds: 2, expected: 200 };
    const order = [
      async () =>
        reads.bare.push(
          (await httpLoad({ ...load, port: routePort, path: `/status/${encodeURIComponent(redisKey)}`, headers: {} })).requestsPerSecond,
        ),
      async () => reads.tempera.push((await httpLoad({ ...load, port, path: statusPath, headers: statusHeaders })).requestsPerSecond),
    ];
    for (const turn of i % 2 === 0 ? order : order.reverse()) await turn();
    if (i === 0) reads.bare.length = reads.tempera.length = 0; // the first round warms both up
  }
  const bareReads = percentile(reads.bare, 50);
  const temperaReads = percentile(reads.tempera, 50);
  atLeast("status reads/s / bare Hono + HGETALL reads/s", temperaReads / bareReads, 0.6);

  let busy = true;
  const jobsInFlight = runWhile(() => busy, gatewayJob, 16);
  const polls: number[] = [];
  for (const until = performance.now() + 5_000; performance.now() < until; ) {
    const startedAtMs = performance.now();
    const answer = await request(`${url}${statusPath}`, { headers: statusHeaders, dispatcher: agent });
    await answer.body.dump();
    polls.push(performance.now() - startedAtMs);
  }
  busy = false;
  await jobsInFlight;
  atMost("status read p99 with 16 jobs in flight, ms", percentile(polls, 99), 20);

  process.kill(temporal.pid, "SIGSTOP");
  const without = await httpLoad({ port, path: statusPath, headers: statusHeaders, connections: 8, seconds: 1, expected: 200 });
  process.kill(temporal.pid, "SIGCONT");
  atMost("status reads that failed while Temporal was frozen", without.unexpected, 0);
  atLeast("status reads answered while Temporal was frozen", without.latenciesMs.length, 100);

  say("the embedded default …");
  const embeddedPort = await freePort();
  const embedded = {
    TEMPERA_PORT: String(embeddedPort),
    TEMPERA_ADMIN_PORT: String(await freePort()),
    TEMPERA_TEMPORAL_PORT: String(await freePort()),
    TEMPERA_TEMPORAL_UI_PORT: String(await freePort()),
    TEMPERA_POSTGRES_PORT: String(await freePort()),
    TEMPERA_ADMIN_KEY: key,
    TEMPERA_DATA: join(folder, "embedded"),
    TEMPERA_WORKER_MODELS: STUB,
  };
  await start("src/bin/all-in-one.ts", embedded, "Ctrl-C stops it");
  const embeddedJob = throughGateway(`http://127.0.0.1:${embeddedPort}`, key, agent);
  await runRound(undefined, embeddedJob, 1, 30);
  const embeddedSide = newSide();
  await runRound(embeddedSide, embeddedJob, 1, 100);
  atMost("embedded default: one no-op job, submit to output p50, ms", percentile(embeddedSide.wholeMs, 50), 50);

  const report = {
    queue,
    status_reads: {
      bare_per_second: round(bareReads),
      tempera_per_second: round(temperaReads),
      p99_ms_with_16_jobs: round(percentile(polls, 99)),
    },
    embedded: summary(embeddedSide),
    checks,
  };
  if (options.json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  else
    for (const { name, value, limit, pass } of checks)
      process.stdout.write(`${pass ? "pass" : "FAIL"}  ${name}: ${value} (limit ${limit})\n`);
  if (options.check && checks.some(({ pass }) => !pass)) process.exitCode = 1;
} finally {
  await closing[Symbol.asyncDispose]();
}

async function runWhile(goOn: () => boolean, job: Job, inFlight: number): Promise<void> {
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      while (goOn()) await job();
    }),
  );
}
