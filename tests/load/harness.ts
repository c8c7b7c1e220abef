/**
 * The harness of the benchmarks: their options, their own services and programs, figures, and checks against
 * limits. Each `bench-*.ts` is one benchmark; `bare-*` are the baselines they compare with.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Command } from "commander";
import { createCloseStack } from "../../src/core/operations/close-stack.ts";
import { freePort } from "../../src/dev/services/port.ts";
import { startPostgres } from "../../src/dev/services/postgres.ts";
import { startRedis } from "../../src/dev/services/redis.ts";
import { startTemporal, type TemporalService } from "../../src/dev/services/temporal.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
export const STUB = "tempera/stub";

export const percentile = (values: number[], p: number): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100))] ?? Number.NaN;
};
export const round = (value: number): number => Math.round(value * 100) / 100;
export const say = (line: string): void => void process.stderr.write(`${line}\n`);

interface Check {
  name: string;
  value: number;
  limit: number;
  pass: boolean;
}

export interface Bench {
  /** `--scale`: a factor for the amount of work. */
  scale: number;
  rounds: number;
  /** `--quick`: one round, which shows that the benchmark works. */
  quick: boolean;
  /** The names of the parts to run: all, or with `--only <name>` those that contain it. */
  parts: readonly string[];
  closing: ReturnType<typeof createCloseStack>;
  folder: string;
  /** An API key of scope ADMIN, in every platform of this benchmark. */
  key: string;
  /** Process ids by name, for `cpuTimes`. */
  processes: Record<string, number>;
  /** Starts a program of the project and waits until its output contains `ready`. */
  start(program: string, env: Record<string, string>, ready: string): Promise<ChildProcess>;
  /** Starts Temporal, PostgreSQL and Redis, and every role of a platform as a process of its own. */
  startPlatform(env?: Record<string, string>): Promise<{
    url: string;
    adminUrl: string;
    temporal: TemporalService;
    redisUrl: string;
    databaseUrl: string;
    /** The environment of its processes, for starting another one. */
    env: Record<string, string>;
  }>;
  /** Starts the embedded default, all in one process; gives its URL. */
  startEmbedded(env?: Record<string, string>): Promise<string>;
  atMost(name: string, value: number, limit: number): void;
  atLeast(name: string, value: number, limit: number): void;
  /** Prints the figures and the checks; with `--check` a failed check sets the exit status 1. */
  report(figures: object): void;
}

/**
 * Runs a benchmark and stops everything that it started.
 *
 * @param named the names of its parts, if it has any
 */
export async function runBench(
  name: string,
  description: string,
  work: (bench: Bench) => Promise<void>,
  named: readonly string[] = [],
): Promise<void> {
  const command = new Command(name)
    .description(description)
    .option("--json", "print the figures as JSON")
    .option("--check", "exit with 1 when a check fails")
    .option("--rounds <n>", "alternating rounds of each side", "5")
    .option("--scale <n>", "a factor for the amount of work", "1")
    .option("--quick", "one round: shows that the benchmark works; its figures mean nothing");
  if (named.length > 0) command.option("--only <name>", "the parts with this in their name");
  command.parse();
  const options = command.opts<{
    json?: boolean;
    check?: boolean;
    quick?: boolean;
    only?: string;
    rounds: string;
    scale: string;
  }>();
  const { only = "" } = options;
  const parts = named.filter((part) => part.includes(only));
  if (named.length > 0 && parts.length === 0)
    command.error(`No part of ${name} has "${only}" in its name; it has: ${named.join(", ")}.`);
  const closing = createCloseStack();
  const folder = await mkdtemp(join(tmpdir(), "tempera-bench-"));
  closing.defer(() => rm(folder, { recursive: true, force: true }));
  const key = `${randomUUID()}:${randomBytes(32).toString("hex")}`;
  const processes: Record<string, number> = { client: process.pid };
  const checks: Check[] = [];

  const start = async (
    program: string,
    env: Record<string, string>,
    ready: string,
  ): Promise<ChildProcess> => {
    const child = spawn(process.execPath, ["--import", "tsx", join(PROJECT, program)], {
      cwd: PROJECT,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    processes[program.split("/").at(-1)?.replace(".ts", "") ?? program] = child.pid ?? 0;
    closing.defer(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise((done) => child.once("exit", done));
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), 10_000);
      await ended;
      clearTimeout(timer);
    });
    await new Promise<void>((done, fail) => {
      let output = "";
      const listen = (chunk: Buffer): void => {
        output = (output + chunk).slice(-4000);
        if (output.includes(ready)) done();
      };
      child.stdout?.on("data", listen);
      child.stderr?.on("data", listen);
      child.once("exit", (code) =>
        fail(new Error(`${program} ended (${code}) before it was ready: ${output}`)),
      );
    });
    return child;
  };

  const bench: Bench = {
    scale: Number(options.scale),
    rounds: options.quick ? 1 : Number(options.rounds),
    quick: options.quick === true,
    parts,
    closing,
    folder,
    key,
    processes,
    start,
    async startPlatform(env = {}) {
      say("starting services …");
      const quiet = { log: () => {} };
      const [temporal, postgres, redis] = await Promise.all([
        startTemporal({ folder: join(folder, "temporal"), inMemory: true, ...quiet }),
        startPostgres({ folder: join(folder, "postgres"), attribute: "SUPERUSER", ...quiet }),
        startRedis({ folder: join(folder, "redis"), ...quiet }),
      ]);
      for (const service of [temporal, postgres, redis]) closing.defer(() => service.stop());
      Object.assign(processes, { temporal: temporal.pid, postgres: postgres.pid, redis: redis.pid });
      const port = await freePort();
      const adminPort = await freePort();
      const shared = {
        DATABASE_URL: postgres.url,
        REDIS_URL: redis.url,
        TEMPORAL_ADDRESS: temporal.url,
        TEMPERA_PORT: String(port),
        TEMPERA_ADMIN_PORT: String(adminPort),
        TEMPERA_ADMIN_KEY: key,
        TEMPERA_DATA: join(folder, "data"),
        TEMPERA_TEST_MODELS: "true",
        TEMPERA_WORKER_MODELS: STUB,
        TEMPERA_LOG_LEVEL: "info",
        TEMPERA_LOG_FORMAT: "json",
        ...env,
      };
      await start("src/bin/admin.ts", shared, "is ready"); // creates the key, the tables and the namespace
      await Promise.all(
        ["orchestrator", "gpu-worker", "gateway"].map((role) =>
          start(`src/bin/${role}.ts`, shared, "is ready"),
        ),
      );
      return {
        url: `http://127.0.0.1:${port}`,
        adminUrl: `http://127.0.0.1:${shared.TEMPERA_ADMIN_PORT}`,
        temporal,
        redisUrl: redis.url,
        databaseUrl: postgres.url,
        env: shared,
      };
    },
    async startEmbedded(env = {}) {
      const port = await freePort();
      const own = {
        TEMPERA_PORT: String(port),
        TEMPERA_ADMIN_PORT: String(await freePort()),
        TEMPERA_TEMPORAL_PORT: String(await freePort()),
        TEMPERA_TEMPORAL_UI_PORT: String(await freePort()),
        TEMPERA_POSTGRES_PORT: String(await freePort()),
        TEMPERA_ADMIN_KEY: key,
        TEMPERA_DATA: join(folder, "embedded"),
        TEMPERA_TEST_MODELS: "true",
        TEMPERA_WORKER_MODELS: STUB,
        ...env,
      };
      await start("src/bin/all-in-one.ts", own, "Ctrl-C stops it");
      return `http://127.0.0.1:${port}`;
    },
    atMost: (name, value, limit) =>
      void checks.push({ name, value: round(value), limit, pass: value <= limit }),
    atLeast: (name, value, limit) =>
      void checks.push({ name, value: round(value), limit, pass: value >= limit }),
    report(figures) {
      if (options.json) process.stdout.write(`${JSON.stringify({ ...figures, checks }, null, 2)}\n`);
      else
        for (const { name, value, limit, pass } of checks)
          process.stdout.write(`${pass ? "pass" : "FAIL"}  ${name}: ${value} (limit ${limit})\n`);
      if (options.check && checks.some(({ pass }) => !pass)) process.exitCode = 1;
    },
  };
  try {
    await work(bench);
  } finally {
    await closing[Symbol.asyncDispose]();
  }
}
