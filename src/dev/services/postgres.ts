import { execFile } from "node:child_process";
import { chmod, mkdir, readdir, readFile, readlink, realpath, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import postgres from "postgres";
import { sleep } from "../../core/concurrency/sleep.ts";
import { SetupError } from "../setup-error.ts";
import { isAlive } from "./install-lock.ts";
import { servicePassword } from "./password.ts";
import { isOpenToAll, postgresBinaries } from "./postgres-binaries.ts";
import {
  type Cluster,
  closeCluster,
  DATABASE,
  dataFolderOf,
  ensureCluster,
  PLATFORM,
} from "./postgres-cluster.ts";
import { choosePort, type Service, type ServiceOptions, startProcess } from "./service.ts";
import { asNobody } from "./user-rights.ts";

const run = promisify(execFile);

/** Longest wait until the database of a killed platform has ended, in milliseconds. */
const PREDECESSOR_WITHIN_MS = 15_000;

export interface PostgresOptions extends ServiceOptions {
  /** Turns off the durability that only a crash of the whole machine needs; for tests. */
  fast?: boolean;
  /** An attribute of the platform's role, which has none; for tests. */
  attribute?: "CREATEDB" | "SUPERUSER";
}

/** Resolves with the address of the server in a folder, which need not run. */
export async function postgresUrl({ folder, port }: { folder: string; port: number }): Promise<string> {
  return urlOf(port, await servicePassword(folder));
}

const urlOf = (port: number, password: string): string =>
  `postgres://${PLATFORM}:${password}@127.0.0.1:${port}/${DATABASE}`;

/**
 * Starts PostgreSQL 18 with a database `tempera`. Its cluster is in `folder/data`, created at the first
 * start. It listens on 127.0.0.1 only, and wants a password of everybody. Its `url` is a connection string
 * with the role of the platform, which is no superuser.
 *
 * A cluster whose server was killed can be started again. Rejects with `setup_failed`, also for a cluster
 * that another process uses.
 */
export async function startPostgres(options: PostgresOptions): Promise<Service> {
  await mkdir(options.folder, { recursive: true, mode: 0o700 });
  const folder = await realpath(options.folder);
  await chmod(folder, 0o700);
  const port = await choosePort(options.port);
  const cluster = await describeCluster(folder, options);
  const { data } = cluster;
  await ensureCluster(cluster);
  await awaitPredecessor(data);
  await closeCluster(cluster);

  const url = urlOf(port, cluster.password);
  const settings = {
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    max_connections: "200",
    ...(options.fast && { fsync: "off", synchronous_commit: "off", full_page_writes: "off" }),
  };
  return startProcess({
    name: "PostgreSQL",
    ...cluster.asUser(join(cluster.bin, "postgres"), [
      ...["-D", dataFolderOf(cluster), "-p", String(port)],
      ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
    ]),
    cwd: data,
    url,
    port,
    portVariable: "TEMPERA_POSTGRES_PORT",
    logFile: join(folder, "postgres.log"),
    // "Fast shutdown": ends sessions instead of waiting for them.
    stopSignal: "SIGINT",
    readyWithinMs: 60_000,
    signal: options.signal,
    isReady: () => acceptsLogins(url),
  });
}

async function describeCluster(folder: string, { fast, attribute }: PostgresOptions): Promise<Cluster> {
  const isRoot = process.getuid?.() === 0;
  const data = join(folder, "data");
  if (isRoot && process.platform !== "linux" && !(await isOpenToAll(data))) {
    throw new SetupError(
      `PostgreSQL does not run as root, and no other user may enter ${data}. ` +
        "Run as an ordinary user, or set DATABASE_URL.",
    );
  }
  return {
    bin: await postgresBinaries(isRoot),
    folder,
    data,
    asUser: isRoot ? await asNobody() : (command, args) => ({ command, args }),
    isNobodys: isRoot,
    password: await servicePassword(folder),
    sync: !fast,
    attributes: attribute ?? "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS",
  };
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

/** Returns whether the platform can log in. */
async function acceptsLogins(url: string): Promise<boolean> {
  const sql = postgres(url, { max: 1, connect_timeout: 2, onnotice: () => {} });
  try {
    await sql`select 1`;
    return true;
  } finally {
    await sql.end({ timeout: 1 });
  }
}
