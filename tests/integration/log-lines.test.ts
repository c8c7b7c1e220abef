/** The log lines of the four roles, each a process of its own, from their start to their end. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createPlatformClient, type PlatformClient } from "../../src/cli/platform-client.ts";
import { freePort } from "../../src/dev/services/port.ts";
import { startTemporal } from "../../src/dev/services/temporal.ts";
import { topKeys } from "../setup/json-keys.ts";
import { leakCheck } from "../setup/leak-check.ts";
import { testDatabase } from "../setup/test-database.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const STUB = "tempera/stub";
const ROLES = ["admin", "orchestrator", "gpu-worker", "gateway"] as const;

interface Line {
  level: string;
  role: string;
  message: string;
  requestId?: string;
  code?: string;
  enginePid?: number;
  [field: string]: unknown;
}

leakCheck();

const key = `${randomUUID()}:${randomBytes(32).toString("hex")}`;
const printed: string[] = [];
const lines: Line[] = [];
const children: ChildProcess[] = [];
const closing: (() => Promise<unknown>)[] = [];
let client: PlatformClient;
let env: Record<string, string>;

/** Starts a role, whose output goes to `printed`. Resolves when it says that it is ready. */
async function start(role: string): Promise<void> {
  const child = spawn(process.execPath, ["--import", "tsx", join(PROJECT, `src/bin/${role}.ts`)], {
    cwd: PROJECT,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  const ended = once(child, "exit").then(([code]) => {
    throw new Error(`the ${role} ended with ${code}: ${printed.slice(-3).join("\n")}`);
  });
  const ready = new Promise<void>((done) => {
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on("line", (line) => {
        printed.push(line);
        if (line.includes(`${role} is ready`)) done();
      });
  });
  ended.catch(() => {}); // it ends at last
  await Promise.race([ready, ended]);
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  child.kill("SIGTERM");
  await once(child, "close");
}

async function end(input: object): Promise<string> {
  const { request_id: id } = await client.submit(STUB, input);
  for await (const { status } of client.follow(STUB, id)) if (status === "COMPLETED") break;
  return id;
}

const requests = { done: "", refused: "", retried: "", cancelled: "" };

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), "tempera-logs-"));
  closing.push(() => rm(folder, { recursive: true, force: true }));
  const database = await testDatabase();
  closing.push(async () => database[Symbol.asyncDispose]());
  const temporal = await startTemporal({ folder: join(folder, "temporal"), inMemory: true, log: () => {} });
  closing.push(() => temporal.stop());
  const [port, adminPort] = [await freePort(), await freePort()];
  env = {
    TEMPERA_LOG_FORMAT: "json",
    TEMPERA_PORT: String(port),
    TEMPERA_ADMIN_PORT: String(adminPort),
    TEMPERA_ADMIN_KEY: key,
    TEMPERA_DATA: join(folder, "data"),
    TEMPERA_TEST_MODELS: "true",
    TEMPERA_WORKER_MODELS: STUB,
    TEMPERA_REDIS_PREFIX: `test-${randomUUID()}:`,
    DATABASE_URL: database.url,
    REDIS_URL: process.env.TEST_REDIS_URL ?? "",
    TEMPORAL_ADDRESS: temporal.url,
  };
  for (const role of ROLES) await start(role);
  const url = `http://localhost:${port}`;
  client = createPlatformClient({ url, adminUrl: `http://localhost:${adminPort}`, key });
  requests.done = await end({ steps: 1 });
  requests.refused = await end({ fail: "invalid" });
  requests.retried = await end({ fail: "crash", fail_attempts: 1 });
  const { request_id: id } = await client.submit(STUB, { delay_ms: 60_000 });
  requests.cancelled = id;
  for await (const { status } of client.follow(STUB, id)) {
    if (status === "IN_PROGRESS") await client.cancel(STUB, id);
    if (status === "COMPLETED") break;
  }
  for (const child of children.toReversed()) await stop(child);
  for (const text of printed) lines.push(JSON.parse(text) as Line);
});

afterAll(async () => {
  for (const child of children) await stop(child);
  for (const close of closing.toReversed()) await close();
});

describe("from the first line to the last", () => {
  it("each is an object with every field once", () => {
    for (const text of printed)
      expect([text, new Set(topKeys(text)).size]).toEqual([text, topKeys(text).length]);
  });

  it("each has a time, a level, a role, a process and a message", () => {
    for (const line of lines)
      expect(line).toMatchObject({
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        level: expect.stringMatching(/^(info|warn|error)$/),
        pid: expect.any(Number),
        hostname: expect.any(String),
        message: expect.any(String),
      });
    expect(new Set(lines.map(({ role }) => role))).toEqual(new Set(ROLES));
  });

  it("none has a secret", () => {
    expect(printed.join("\n")).not.toContain(key.slice(37));
  });
});

describe("an ordinary outcome", () => {
  it("is at info, with its code", () => {
    const about = lines.filter(({ requestId }) => requestId === requests.refused);
    expect(about.map(({ level }) => level)).toEqual(about.map(() => "info"));
    expect(about).toContainEqual(expect.objectContaining({ role: "gpu-worker", code: "input_invalid" }));
    expect(about).toContainEqual(expect.objectContaining({ role: "orchestrator", code: "input_invalid" }));
  });

  it.each(["done", "cancelled"] as const)("is no warning when the request was %s", (name) => {
    expect(requests[name]).not.toBe("");
    expect(lines.map(({ requestId }) => requestId)).toContain(requests.refused);
    const about = lines.filter(({ requestId }) => requestId === requests[name]);
    if (name === "cancelled") expect(about).toContainEqual(expect.objectContaining({ outcome: "cancelled" }));
    expect(about.filter(({ level }) => level !== "info")).toEqual([]);
  });
});

it("the crash of an engine is an error that names the model version and the engine's process", () => {
  expect(lines).toContainEqual(
    expect.objectContaining({
      ...{ level: "error", role: "gpu-worker", endpoint: STUB, version: "1.0.0" },
      ...{ enginePid: expect.any(Number), message: expect.stringMatching(/^The engine was ended by/) },
    }),
  );
  const about = lines.filter(({ requestId }) => requestId === requests.retried);
  expect(about).toContainEqual(expect.objectContaining({ level: "warn", attempt: 1 }));
});
