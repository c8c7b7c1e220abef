/** The embedded default, as a person runs it: one process, Ctrl-C, and the messages of a refused start. */
import { type ChildProcess, spawn } from "node:child_process";
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createPlatformClient, type PlatformClient } from "../../src/cli/platform-client.ts";
import { isAlive } from "../../src/dev/services/install-lock.ts";
import { freePort } from "../../src/dev/services/port.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const STUB = "tempera/stub";

let folder: string;
let env: Record<string, string>;
const children = new Set<ChildProcess>();
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-restart-"));
  env = {
    TEMPERA_DATA: join(folder, "data"),
    TEMPERA_PORT: String(await freePort()),
    TEMPERA_ADMIN_PORT: String(await freePort()),
    TEMPERA_TEMPORAL_PORT: String(await freePort()),
    TEMPERA_TEMPORAL_UI_PORT: String(await freePort()),
    TEMPERA_POSTGRES_PORT: String(await freePort()),
    TEMPERA_GRACE_SECONDS: "0",
    TEMPERA_TEST_MODELS: "true",
    TEMPERA_LOG_FORMAT: "text", // as at a terminal, which the tests have not
  };
});
afterAll(async () => {
  for (const child of children) child.kill("SIGKILL");
  await rm(folder, { recursive: true, force: true });
});

interface Started {
  child: ChildProcess;
  ended: Promise<number | null>;
  output(): string;
}

/** Starts `src/bin/all-in-one.ts`. */
function start(
  more: Record<string, string> = {},
  { args = [], except = [] }: { args?: string[]; except?: string[] } = {},
): Started {
  const own = Object.fromEntries(Object.entries(env).filter(([name]) => !except.includes(name)));
  const program = join(PROJECT, "src/bin/all-in-one.ts");
  const child = spawn(process.execPath, ["--import", "tsx", program, ...args], {
    cwd: PROJECT,
    env: { ...process.env, ...own, ...more },
  });
  children.add(child);
  let output = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    output += chunk;
  });
  child.stderr?.on("data", (chunk: Buffer) => {
    output += chunk;
  });
  const ended = new Promise<number | null>((done) =>
    child.once("exit", (code) => {
      children.delete(child);
      done(code);
    }),
  );
  return { child, ended, output: () => output };
}

/** Finds what others than its user can open, apart from the weights of models. */
async function openToOthers(data: string): Promise<string[]> {
  const entries = await readdir(data, { recursive: true, withFileTypes: true });
  const paths = entries.map(({ parentPath, name }) => join(parentPath, name));
  const modes = await Promise.all(
    paths.map(async (path) => (await lstat(path).catch(() => undefined))?.mode ?? 0),
  );
  return paths.filter(
    (path, index) => (modes[index] ?? 0) & 0o077 && !path.startsWith(join(data, "weights")),
  );
}

async function startReady(): Promise<Started & { client: PlatformClient }> {
  const started = start();
  await expect.poll(started.output, { interval: 50 }).toMatch(/Ctrl-C stops it/);
  const key = (await readFile(join(folder, "data", "key"), "utf8")).trim();
  const client = createPlatformClient({
    url: `http://localhost:${env.TEMPERA_PORT}`,
    adminUrl: `http://localhost:${env.TEMPERA_ADMIN_PORT}`,
    key,
  });
  return { ...started, client };
}

describe("npm start", () => {
  it("finishes requests after Ctrl-C and the next start; its curl line works", async () => {
    const first = await startReady();
    const { request_id: running } = await first.client.submit(STUB, {
      delay_ms: 2_000,
      seed: 1,
      artifact_bytes: 100,
    });
    const { request_id: later } = await first.client.submit(STUB, { delay_ms: 1_500, seed: 2 });
    for await (const { status } of first.client.follow(STUB, running)) if (status === "IN_PROGRESS") break;
    first.child.kill("SIGINT");
    expect(await first.ended).toBe(0);

    const second = await startReady();
    for (const id of [running, later]) {
      for await (const status of second.client.follow(STUB, id)) expect(status.error).toBeUndefined();
      expect(await second.client.result(STUB, id)).toMatchObject({ seed: id === running ? 1 : 2 });
    }
    const [, curl = ""] = /^ {2}(curl .*)$/m.exec(second.output()) ?? [];
    const shell = spawn("sh", ["-c", curl]);
    let response = "";
    shell.stdout.on("data", (chunk: Buffer) => {
      response += chunk;
    });
    await new Promise((done) => shell.once("close", done));
    expect(JSON.parse(response)).toMatchObject({ status: "IN_QUEUE" });
    expect(await openToOthers(join(folder, "data"))).toEqual([]);
    const key = (await readFile(join(folder, "data", "key"), "utf8")).trim();
    for (const { output } of [first, second]) {
      expect(output()).not.toContain(key);
      expect(output()).toContain(`kept in ${join(folder, "data", "key")}`);
    }
    second.child.kill("SIGTERM");
    expect(await second.ended).toBe(0);
  });

  it("starts after kill -9 and loses nothing", async () => {
    const first = await startReady();
    const { request_id: id } = await first.client.submit(STUB, { delay_ms: 1_000, seed: 3 });
    first.child.kill("SIGKILL");
    await first.ended;
    const second = await startReady();
    for await (const status of second.client.follow(STUB, id)) expect(status.error).toBeUndefined();
    expect(await second.client.result(STUB, id)).toMatchObject({ seed: 3 });
    second.child.kill("SIGTERM");
    expect(await second.ended).toBe(0);
  });
});

describe("npm start and the process of npm", () => {
  /** Runs `npm start` as a supervisor does: the platform is a grandchild, known by its own data folder. */
  function npmStart(name: string, more: Record<string, string> = {}) {
    const data = join(folder, name);
    const child = spawn("npm", ["start"], {
      cwd: PROJECT,
      env: { ...process.env, ...env, TEMPERA_DATA: data, TEMPERA_WORKER_MODELS: STUB, ...more },
      stdio: ["ignore", "pipe", "pipe"],
    });
    children.add(child);
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk: Buffer) => {
        output += chunk;
      });
    const ended = new Promise<void>((done) => child.once("exit", () => done()));
    void ended.then(() => children.delete(child));
    const platform = async (): Promise<number> =>
      (JSON.parse(await readFile(join(data, "platform.json"), "utf8")) as { pid: number }).pid;
    return { child, data, ended, output: () => output, platform };
  }
  const gone = (pid: number) => expect.poll(() => isAlive(pid)).toBe(false);

  it.each(["SIGTERM", "SIGHUP", "SIGKILL"] as const)("ends in order after %s of npm", async (signal) => {
    const npm = npmStart(`npm-${signal}`);
    await expect.poll(npm.output, { interval: 50 }).toMatch(/Ctrl-C stops it/);
    const pid = await npm.platform();
    npm.child.kill(signal);
    await npm.ended;
    await gone(pid);
    // A platform that was killed leaves these; one that ended in order does not.
    await expect(readFile(join(npm.data, "platform.json"))).rejects.toThrow("ENOENT");
    await expect(readFile(join(npm.data, "postgres/data/postmaster.pid"))).rejects.toThrow("ENOENT");
  });

  it("ends an unfinished start, and the services that it has started", async () => {
    const npm = npmStart("npm-early");
    const started = () => readFile(join(npm.data, "postgres/data/postmaster.pid"), "utf8").catch(() => "");
    await expect.poll(started, { interval: 20 }).not.toBe("");
    const pid = await npm.platform();
    npm.child.kill("SIGTERM");
    await npm.ended;
    await gone(pid);
    expect(await started()).toBe("");
    await expect(npm.platform()).rejects.toThrow("ENOENT");
  });
});

describe("one platform a data folder", () => {
  it("names the first one to a second start, and starts beside it in another folder", async () => {
    const first = await startReady();
    const second = start();
    expect(await second.ended).toBe(1);
    expect(second.output()).toContain(
      `tempera: A platform runs on the data folder ${join(folder, "data")} already: ` +
        `process ${first.child.pid}, http://localhost:${env.TEMPERA_PORT}.`,
    );

    const {
      TEMPERA_TEMPORAL_PORT: _temporal,
      TEMPERA_TEMPORAL_UI_PORT: _ui,
      TEMPERA_POSTGRES_PORT: _postgres,
      ...shared
    } = env;
    const beside = start(
      {
        ...shared,
        TEMPERA_DATA: join(folder, "beside"),
        TEMPERA_PORT: String(await freePort()),
        TEMPERA_ADMIN_PORT: String(await freePort()),
        TEMPERA_WORKER_MODELS: STUB,
      },
      { except: Object.keys(env) },
    );
    await expect.poll(beside.output, { interval: 50 }).toMatch(/Ctrl-C stops it/);
    for (const each of [first, beside]) {
      each.child.kill("SIGTERM");
      expect(await each.ended).toBe(0);
    }
  });

  it("prints help and starts nothing", async () => {
    const help = start({ TEMPERA_DATA: join(folder, "help") }, { args: ["--help"] });
    expect(await help.ended).toBe(0);
    expect(help.output()).toMatch(/^usage: npm start -- \[flags\][\s\S]*--set <group>/);
    await expect(readFile(join(folder, "help", "platform.json"))).rejects.toThrow("ENOENT");
  });
});

describe("a refused start prints one line with the reason and the remedy", () => {
  /** Returns the line after `tempera: `. Only progress may precede it. */
  async function refusal(more: Record<string, string>): Promise<string> {
    const started = start({ TEMPERA_DATA: join(folder, "refused"), ...more });
    expect(await started.ended).toBe(1);
    expect(started.output()).not.toMatch(/^\s+at /m);
    return /^tempera: (.*)$/m.exec(started.output())?.[1] ?? started.output();
  }

  it.each([
    ["TEMPERA_PORT", "gateway"],
    ["TEMPERA_TEMPORAL_PORT", "Temporal"],
    ["TEMPERA_POSTGRES_PORT", "PostgreSQL"],
  ])("when %s is in use", async (variable, name) => {
    const server = createServer();
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address() as { port: number };
    try {
      const line = await refusal({ [variable]: String(port) });
      expect(line).toContain(String(port));
      expect(line).toContain(name);
      expect(line).toContain(variable);
    } finally {
      server.close();
    }
  });

  it("when DATABASE_URL is unreachable, without its password", async () => {
    const line = await refusal({ DATABASE_URL: "postgres://someone:hidden@127.0.0.1:9/none" });
    expect(line).toMatch(/127\.0\.0\.1:9/);
    expect(line).toMatch(/DATABASE_URL/);
    expect(line).not.toMatch(/hidden/);
  });

  it("when TEMPORAL_ADDRESS is unreachable", async () => {
    expect(await refusal({ TEMPORAL_ADDRESS: "127.0.0.1:9" })).toMatch(/127\.0\.0\.1:9.*TEMPORAL_ADDRESS/);
  });

  it("when the Temporal binary does not exist or cannot be downloaded", async () => {
    expect(await refusal({ TEMPORAL_CLI: "/no/such/temporal" })).toMatch(
      /TEMPORAL_CLI names \/no\/such\/temporal/,
    );
    const line = await refusal({
      PATH: "/usr/bin:/bin",
      TEMPERA_CACHE: join(folder, "empty-cache"),
      HTTPS_PROXY: "http://127.0.0.1:9",
    });
    expect(line).toMatch(/Temporal CLI not found.*Set TEMPORAL_CLI/);
  });

  it("when a model package is faulty, with every fault", async () => {
    const models = join(folder, "models");
    await mkdir(join(models, "a/b/1.0.0"), { recursive: true });
    await writeFile(join(models, "a/b/1.0.0/model.yaml"), "endpoint: a/b\nversion: 1.0.0\n");
    const started = start({ TEMPERA_MODELS: models });
    expect(await started.ended).toBe(1);
    expect(started.output()).toMatch(/a\/b\/1\.0\.0: model\.yaml: .*'title'/);
    expect(started.output()).toMatch(/a\/b\/1\.0\.0: model\.yaml: .*'runner'/);
  });

  it("when the configuration is faulty, with every fault", async () => {
    const started = start({ TEMPERA_PORT: "eighty", TEMPERA_LOG_LEVEL: "loud" });
    expect(await started.ended).toBe(1);
    expect(started.output()).toMatch(/TEMPERA_PORT/);
    expect(started.output()).toMatch(/TEMPERA_LOG_LEVEL/);
  });
});
