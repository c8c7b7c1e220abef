import { execFile } from "node:child_process";
import { access, chown, mkdir, readdir, readFile, readlink, realpath, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import postgres from "postgres";
import { sleep } from "../../core/concurrency/sleep.ts";
import { SetupError } from "../setup-error.ts";
import { isAlive } from "./install-lock.ts";
import { isOpenToAll, postgresBinaries } from "./postgres-binaries.ts";
import { choosePort, type Service, type ServiceOptions, startProcess } from "./service.ts";

const run = promisify(execFile);

/** The user `nobody`, as which PostgreSQL runs when this process is root: it refuses to run as root. */
const NOBODY = { uid: 65534, gid: 65534 };
/** Longest wait until the database of a killed platform has ended, in milliseconds. */
const PREDECESSOR_WITHIN_MS = 15_000;

const ROLE = "tempera";
const DATABASE = "tempera";

export interface PostgresOptions extends ServiceOptions {
  /** Turns off the durability that only a crash of the whole machine needs; for tests. */
  fast?: boolean;
}

/**
 * Starts PostgreSQL 18 with a database `tempera`. Its cluster is in `folder/data`, created at the first
 * start. It listens on 127.0.0.1 only, without passwords. Its `url` is a connection string.
 *
 * A cluster whose server was killed can be started again. Rejects with `setup_failed`, also for a cluster
 * that another process uses.
 */
export async function startPostgres(options: PostgresOptions): Promise<Service> {
  await mkdir(options.folder, { recursive: true });
  const folder = await realpath(options.folder);
  const port = await choosePort(options.port);
  const isRoot = process.getuid?.() === 0;
  const bin = await postgresBinaries(isRoot);
  const data = join(folder, "data");
  const asUser = isRoot ? await asNobody(data) : asSelf;
  if (!(await isCluster(data)))
    await createCluster({ bin, folder, data, isRoot, asUser, sync: !options.fast });
  await awaitPredecessor(data);

  const url = `postgres://${ROLE}@127.0.0.1:${port}/${DATABASE}`;
  const settings = {
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    max_connections: "200",
    ...(options.fast && { fsync: "off", synchronous_commit: "off", full_page_writes: "off" }),
  };
  return startProcess({
    name: "PostgreSQL",
    ...asUser(join(bin, "postgres"), [
      ...["-D", data, "-p", String(port)],
      ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
    ]),
    url,
    port,
    portVariable: "TEMPERA_POSTGRES_PORT",
    logFile: join(folder, "postgres.log"),
    // "Fast shutdown": ends sessions instead of waiting for them.
    stopSignal: "SIGINT",
    readyWithinMs: 60_000,
    signal: options.signal,
    isReady: () => hasDatabase(port),
  });
}

interface Command {
  command: string;
  args: string[];
  user?: { uid: number; gid: number };
}
type AsUser = (command: string, args: string[]) => Command;

const asSelf: AsUser = (command, args) => ({ command, args });

/**
 * Makes commands run as `nobody`. Where only root may enter the data's folder, they keep one capability of
 * root's to enter it (CAP_DAC_OVERRIDE, by `setpriv` of util-linux).
 */
async function asNobody(data: string): Promise<AsUser> {
  if (await isOpenToAll(data)) return (command, args) => ({ command, args, user: NOBODY });
  await run("setpriv", ["--version"]).catch(() => {
    throw new SetupError(
      `PostgreSQL does not run as root, and no other user may enter ${data}. Install \`setpriv\` ` +
        "(util-linux), choose a data folder that every user may enter, or set DATABASE_URL.",
    );
  });
  const rights = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"];
  const who = [`--reuid=${NOBODY.uid}`, `--regid=${NOBODY.gid}`, "--clear-groups"];
  return (command, args) => ({ command: "setpriv", args: [...who, ...rights, command, ...args] });
}

const isCluster = (data: string): Promise<boolean> =>
  access(join(data, "PG_VERSION")).then(
    () => true,
    () => false,
  );

/**
 * Creates the cluster under a temporary name and renames it, so that an interrupted `initdb` leaves nothing
 * that looks complete.
 */
async function createCluster(cluster: {
  bin: string;
  folder: string;
  data: string;
  isRoot: boolean;
  asUser: AsUser;
  sync: boolean;
}): Promise<void> {
  const { bin, folder, data, isRoot, asUser, sync } = cluster;
  const unfinished = join(folder, "data.unfinished");
  await rm(unfinished, { recursive: true, force: true });
  await mkdir(unfinished, { mode: 0o700 });
  if (isRoot) await chown(unfinished, NOBODY.uid, NOBODY.gid);
  const options = [
    ...["--username", ROLE, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-instructions"],
    sync ? "--sync-method=fsync" : "--no-sync",
  ];
  const { command, args, user } = asUser(join(bin, "initdb"), ["-D", unfinished, ...options]);
  await run(command, args, { ...user }).catch((error: Error & { stderr?: string }) => {
    throw new SetupError(
      `PostgreSQL cannot create its cluster in ${folder}: ${lastLine(error.stderr) || error.message}`,
    );
  });
  if ((await readdir(data).catch(() => [])).length > 0) {
    throw new SetupError(
      `PostgreSQL: ${data} holds files but no cluster; move them away or choose another data folder`,
    );
  }
  await rm(data, { recursive: true, force: true });
  await rename(unfinished, data);
}

/**
 * Waits until the server that last used this cluster and its sessions have ended, and removes the lock that
 * it left when it was killed. PostgreSQL itself mistakes another program for that server when it has its
 * process id by now.
 */
async function awaitPredecessor(data: string): Promise<void> {
  const lock = join(data, "postmaster.pid");
  const deadline = Date.now() + PREDECESSOR_WITHIN_MS;
  for (;;) {
    const [user] = await usersOf(data, lock);
    if (user === undefined) {
      await rm(lock, { force: true });
      return;
    }
    if (Date.now() > deadline)
      throw new SetupError(
        `PostgreSQL: ${data} is in use by process ${user}; stop it or choose another data folder`,
      );
    await sleep(100);
  }
}

/**
 * Finds the processes of PostgreSQL on this cluster, whose working directory is its folder. Without /proc, it
 * returns the one that the lock names.
 */
async function usersOf(data: string, lock: string): Promise<number[]> {
  if (process.platform === "linux") {
    const pids = (await readdir("/proc")).map(Number).filter((pid) => pid > 0);
    const isUser = async (pid: number) =>
      (await readlink(`/proc/${pid}/cwd`).catch(() => "")) === data &&
      (await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "")).startsWith("postgres");
    const verdicts = await Promise.all(pids.map(isUser));
    return pids.filter((_, index) => verdicts[index]);
  }
  const pid = Number((await readFile(lock, "utf8").catch(() => "")).split("\n")[0]);
  if (!isAlive(pid)) return [];
  const { stdout } = await run("ps", ["-ww", "-o", "args=", "-p", String(pid)]).catch(() => ({ stdout: "" }));
  return stdout.includes(data) ? [pid] : [];
}

/** Returns whether the server replies. Creates the database when it is missing. */
async function hasDatabase(port: number): Promise<boolean> {
  const sql = postgres({
    host: "127.0.0.1",
    port,
    user: ROLE,
    database: "postgres",
    max: 1,
    connect_timeout: 2,
    onnotice: () => {},
  });
  try {
    const rows = await sql`select 1 from pg_database where datname = ${DATABASE}`;
    if (rows.length === 0) await sql`create database ${sql(DATABASE)}`;
    return true;
  } finally {
    await sql.end({ timeout: 1 });
  }
}

const lastLine = (text = ""): string => text.trim().split("\n").at(-1) ?? "";
