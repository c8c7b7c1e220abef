/** Attacks of another user of this machine on the services, which worked against earlier versions. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { chown, lstat, mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import postgres from "postgres";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, test } from "vitest";
import { leakCheck } from "../../../tests/setup/leak-check.ts";
import { createS3ObjectStore } from "../../adapters/object-store/s3-object-store.ts";
import { startMinio } from "./minio.ts";
import { freePort } from "./port.ts";
import { startPostgres } from "./postgres.ts";
import { postgresBinaries } from "./postgres-binaries.ts";
import { startRedis } from "./redis.ts";
import { type Service, startProcess } from "./service.ts";
import { startTemporal } from "./temporal.ts";
import { NOBODY } from "./user-rights.ts";

leakCheck();

const run = promisify(execFile);
const log = () => {};
const isRoot = process.getuid?.() === 0;
const isLinux = process.platform === "linux";

describe("PostgreSQL", () => {
  let folder: string;
  let service: Service;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "tempera-trust-"));
    service = await startPostgres({ folder, fast: true, log });
  });
  afterAll(async () => {
    await service.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it.each(["tempera", "platform", "postgres"])("refuses %s without a password", async (username) => {
    const outcome = await attempt(withLogin(service.url, { username, password: "" }), "select 1");
    expect(outcome).toMatch(/password/);
  });

  it.each(["tempera", "platform"])("refuses %s with a wrong password", async (username) => {
    const login = withLogin(service.url, { username, password: "0".repeat(64) });
    expect(await attempt(login, "select 1")).toMatch(/^password authentication failed/);
  });

  it("lets nobody log in as the superuser, the platform neither", async () => {
    const { password } = new URL(service.url);
    const login = withLogin(service.url, { username: "tempera", password });
    expect(await attempt(login, "select 1")).toMatch(/^password authentication failed/);
  });

  it.each([
    "create table loot (line text); copy loot from program 'id'",
    "copy (select 1) to program 'id'",
    "copy (select 1) to '/tmp/tempera-trust'",
    "select pg_read_file('/etc/hostname')",
    "alter role platform superuser",
    "create role other superuser",
    "set role tempera",
    "alter system set fsync = off",
    "create function f() returns int language c as '/lib/x', 'f'",
    "select rolpassword from pg_authid",
  ])("refuses the platform %s", async (statement) =>
    expect(await attempt(service.url, statement)).toMatch(/denied|must be superuser|only roles/i),
  );

  it("shows its password on no command line", async () => {
    const { password } = new URL(service.url);
    const lines = await Promise.all((await pids()).map((pid) => readProc(pid, "cmdline")));
    expect(lines.filter((line) => line.includes(password))).toEqual([]);
  });
});

describe("a cluster of an earlier version, which trusted everybody", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "tempera-trust-"));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it("is closed at the start, keeps its data, and can be migrated by the platform", async () => {
    await makeTrustingCluster(folder);
    await using service = await startPostgres({ folder, fast: true, log });
    const anybody = withLogin(service.url, { username: "tempera", password: "" });
    expect(await attempt(anybody, "select 1")).toMatch(/password/);
    expect(await attempt(service.url, "select number, word from kept")).toEqual([{ number: 1, word: "one" }]);
    for (const statement of [
      "insert into kept (word) values ('two')",
      "alter table kept add column more text",
      "create or replace function twice(a int) returns int language sql as 'select a * 2'",
      "drop view words; drop table kept; drop function twice; create table anew ()",
    ])
      expect(await attempt(service.url, statement)).toEqual([]);
    expect(await attempt(service.url, "copy anew from program 'id'")).toMatch(/denied/);
  });

  it("starts again after its password was lost", async () => {
    const first = await startPostgres({ folder, fast: true, log });
    await attempt(first.url, "create table kept as select 42 as answer");
    await first.stop();
    await rm(join(folder, "password"));
    await using second = await startPostgres({ folder, port: first.port, fast: true, log });
    expect(second.url).not.toBe(first.url);
    expect(await attempt(second.url, "select answer from kept")).toEqual([{ answer: 42 }]);
    expect(await attempt(first.url, "select 1")).toMatch(/^password authentication failed/);
  });

  /** Makes what earlier versions left: a superuser `tempera` that owns all, and no passwords. */
  async function makeTrustingCluster(at: string): Promise<void> {
    const bin = await postgresBinaries(isRoot);
    const data = join(at, "data");
    await mkdir(data, { mode: 0o700 });
    const user = isRoot ? NOBODY : {};
    if (isRoot) await chown(data, NOBODY.uid, NOBODY.gid);
    const inData = { cwd: data, env: { ...process.env, PGDATA: isLinux ? "/proc/self/cwd" : data }, ...user };
    const options = ["--username", "tempera", "--auth", "trust", "--locale", "C", "--no-sync"];
    await run(join(bin, "initdb"), [...options, "--encoding", "UTF8"], inData);
    const made = [
      "create table kept (number serial primary key, word text)",
      "insert into kept (word) values ('one')",
      "create view words as select word from kept",
      "create function twice(a int) returns int language sql as 'select a + a'",
    ];
    for (const [database, statements] of [
      ["postgres", ["create database tempera"]],
      ["tempera", made],
    ] as const) {
      const child = run(join(bin, "postgres"), ["--single", "-j", "-F", database], inData);
      child.child.stdin?.end(statements.map((statement) => `${statement};\n\n`).join(""));
      await child;
    }
  }
});

describe("the other services", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "tempera-trust-"));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it("Redis refuses callers without its password", async () => {
    await using service = await startRedis({ folder, log });
    expect(await sayTo(service.port, "CONFIG GET dir")).toMatch(/^-NOAUTH/);
    const { password } = new URL(service.url);
    expect(await sayTo(service.port, `AUTH ${password}`)).toBe("+OK\r\n");
    expect(await readProc(service.pid, "cmdline")).not.toContain(password);
  });

  it("MinIO has keys of its own, not those of every installation", async () => {
    await using service = await startMinio({ folder, log });
    const open = (secretKey: string) =>
      createS3ObjectStore({
        ...{ endpoint: service.url, accessKey: service.accessKey, secretKey },
        ...{ bucket: "trust", region: "us-east-1" },
      });
    await expect(open("tempera-secret")).rejects.toThrow(/authorized credentials/);
    await open(service.secretKey);
  });

  it("keep what only their user can open", async () => {
    const at = (name: string) => ({ folder: join(folder, name), log });
    const services = await Promise.all([
      startTemporal(at("temporal")),
      startPostgres({ ...at("postgres"), fast: true }),
      startRedis(at("redis")),
      startMinio(at("minio")),
    ]);
    expect(await openToOthers(folder)).toEqual([]);
    await Promise.all(services.map((service) => service.stop()));
    expect(await openToOthers(folder)).toEqual([]);
  });
});

describe.runIf(isRoot && isLinux)("with root's rights", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "tempera-trust-"));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  test("PostgreSQL has another user, and no capability, in a folder that only root may enter", async () => {
    await using service = await startPostgres({ folder, fast: true, log });
    const all = await processesOf(service.pid);
    expect(all.length).toBeGreaterThan(1);
    for (const pid of all) {
      const status = await readProc(pid, "status");
      expect(status).toMatch(/^Uid:\t65534\t65534\t65534\t65534$/m);
      for (const set of ["Inh", "Prm", "Eff", "Bnd", "Amb"]) expect(status).toMatch(noneIn(set));
      expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    }
  });

  test("no service gets the ambient capabilities of the platform", async () => {
    const program = `
      import { readFileSync } from "node:fs";
      import { startPostgres } from ${module("./postgres.ts")};
      import { startRedis } from ${module("./redis.ts")};
      const at = (name) => ({ folder: ${JSON.stringify(folder)} + "/" + name, log() {} });
      const services = await Promise.all([startPostgres(at("postgres")), startRedis(at("redis"))]);
      const own = readFileSync("/proc/self/status", "utf8");
      const theirs = services.map(({ pid }) => readFileSync("/proc/" + pid + "/status", "utf8"));
      await Promise.all(services.map((service) => service.stop()));
      console.log(JSON.stringify({ own, theirs }));`;
    const { stdout } = await run("setpriv", [
      ...["--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service"],
      ...[process.execPath, "--import", "tsx", "--input-type=module", "-e", program],
    ]);
    const { own, theirs } = JSON.parse(stdout) as { own: string; theirs: string[] };
    expect(own, "the attack itself").not.toMatch(noneIn("Amb"));
    for (const status of theirs) for (const set of ["Inh", "Amb"]) expect(status).toMatch(noneIn(set));
  });
});

test("a service's files are its user's, whatever the umask", async () => {
  const folder = await mkdtemp(join(tmpdir(), "tempera-trust-"));
  const file = join(folder, "made");
  const program = `require("fs").writeFileSync(${JSON.stringify(file)}, ""); setInterval(() => {}, 1000)`;
  await using _service = await startProcess({
    name: "Temporal",
    command: process.execPath,
    args: ["-e", program],
    url: "",
    port: await freePort(),
    portVariable: "TEMPERA_TEMPORAL_PORT",
    logFile: join(folder, "log"),
    stopSignal: "SIGTERM",
    readyWithinMs: 60_000,
    isReady: async () => (await lstat(file)).isFile(),
  });
  expect(await openToOthers(folder)).toEqual([]);
  await rm(folder, { recursive: true, force: true });
});

const module = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);
const noneIn = (set: string): RegExp => new RegExp(`^Cap${set}:\\t0+$`, "m");

function withLogin(address: string, login: { username: string; password: string }): string {
  return Object.assign(new URL(address), login).href;
}

/** Runs statements. Resolves with the rows, or with the message of the refusal. */
async function attempt(address: string, statements: string): Promise<unknown> {
  const sql = postgres(address, { max: 1, onnotice: () => {} });
  try {
    return [...(await sql.unsafe(statements)).flat()];
  } catch (error) {
    return (error as Error).message;
  } finally {
    await sql.end();
  }
}

/** Sends one command to Redis, and resolves with its reply. */
async function sayTo(port: number, command: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.write(`${command}\r\n`);
  const [reply] = await once(socket, "data");
  socket.destroy();
  return String(reply);
}

const pids = async (): Promise<number[]> =>
  (await readdir("/proc").catch(() => [])).map(Number).filter(Boolean);

/** Reads a file of /proc; empty where the process has ended or there is no /proc. */
const readProc = (pid: number, name: string): Promise<string> =>
  readFile(`/proc/${pid}/${name}`, "utf8").catch(() => "");

/** Finds a process and its children. */
async function processesOf(pid: number): Promise<number[]> {
  const all = await Promise.all(
    (await pids()).map(async (one) => [one, await readProc(one, "status")] as const),
  );
  return all.flatMap(([one, status]) => (one === pid || status.includes(`PPid:\t${pid}\n`) ? [one] : []));
}

/** Finds the files and folders below one that others than their user can open. */
async function openToOthers(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => !entry.isSymbolicLink())
    .map(({ parentPath, name }) => join(parentPath, name));
  const modes = await Promise.all(
    paths.map(async (path) => [path, (await lstat(path).catch(() => undefined))?.mode ?? 0] as const),
  );
  return modes.flatMap(([path, mode]) => (mode & 0o077 ? [`${path} ${(mode & 0o777).toString(8)}`] : []));
}
