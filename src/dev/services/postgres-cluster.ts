/** The files of a PostgreSQL cluster: how it is created, who may log in, and who owns what. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { access, chown, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SetupError } from "../setup-error.ts";
import { type Command, NOBODY } from "./user-rights.ts";

/** The cluster's superuser. It has no password, so that nobody can log in as it. */
const OWNER = "tempera";
/** The role of the platform, which owns its database and is no superuser. */
export const PLATFORM = "platform";
export const DATABASE = "tempera";

/**
 * The rules of logins: everybody needs a password, whatever the way. A digest tells which password of the
 * platform they were made with.
 */
const loginRules = (password: string): string =>
  [
    `# Made by Tempera, with the password ${createHash("sha256").update(password).digest("hex")}.`,
    "local all all scram-sha-256",
    "host all all 127.0.0.1/32 scram-sha-256",
    "",
  ].join("\n");

export interface Cluster {
  /** The folder of PostgreSQL's programs. */
  bin: string;
  folder: string;
  /** The cluster itself, in `folder`. */
  data: string;
  asUser(command: string, args: string[]): Command;
  /** The cluster's files belong to `nobody`. */
  isNobodys: boolean;
  /** The platform's password. */
  password: string;
  /** Writes are made durable. */
  sync: boolean;
  /** The attributes of the platform's role. */
  attributes: string;
}

/** The name of a cluster for the programs that work in it: its path may lead through closed folders. */
export const dataFolderOf = ({ data, isNobodys }: Pick<Cluster, "data" | "isNobodys">): string =>
  isNobodys && process.platform === "linux" ? "/proc/self/cwd" : data;

/**
 * Creates the cluster where there is none. It is made under a temporary name and renamed, so that an
 * interrupted creation leaves nothing that looks complete. Rejects with `setup_failed`.
 */
export async function ensureCluster(cluster: Cluster): Promise<void> {
  const { bin, folder, data, isNobodys, sync } = cluster;
  if (await exists(join(data, "PG_VERSION"))) return;
  const unfinished = { ...cluster, data: join(folder, "data.unfinished") };
  await rm(unfinished.data, { recursive: true, force: true });
  await mkdir(unfinished.data, { mode: 0o700 });
  if (isNobodys) await chown(unfinished.data, NOBODY.uid, NOBODY.gid);
  const created = await runIn(unfinished, join(bin, "initdb"), [
    ...["--username", OWNER, "--auth", "reject", "--encoding", "UTF8", "--locale", "C", "--no-instructions"],
    sync ? "--sync-method=fsync" : "--no-sync",
  ]);
  if (created.code !== 0)
    throw new SetupError(`PostgreSQL cannot create its cluster in ${folder}: ${lastLine(created.output)}`);
  await grantLogins(unfinished);
  if ((await readdir(data).catch(() => [])).length > 0) {
    throw new SetupError(
      `PostgreSQL: ${data} holds files but no cluster; move them away or choose another data folder`,
    );
  }
  await rm(data, { recursive: true, force: true });
  await rename(unfinished.data, data);
}

/**
 * Closes a cluster of an earlier version, which trusted everybody on this machine and whose platform was its
 * superuser: the database and all in it get their new owner. Also sets a new password after the file with the
 * old one was lost. The cluster's server must not run. Rejects with `setup_failed`.
 */
export async function closeCluster(cluster: Cluster): Promise<void> {
  const rules = await readFile(join(cluster.data, "pg_hba.conf"), "utf8").catch(() => "");
  if (rules !== loginRules(cluster.password)) await grantLogins(cluster);
}

/** Makes both roles, the database and its owner, and writes the rules of logins last. May be repeated. */
async function grantLogins(cluster: Cluster): Promise<void> {
  const { data, isNobodys, password, attributes } = cluster;
  const made = await runSql(cluster, "postgres", [
    `ALTER ROLE ${OWNER} PASSWORD NULL`,
    `DO $$ BEGIN
       IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '${PLATFORM}')
       THEN CREATE ROLE ${PLATFORM}; END IF;
     END $$`,
    `ALTER ROLE ${PLATFORM} LOGIN ${attributes} PASSWORD '${password}'`,
    `CREATE DATABASE ${DATABASE} OWNER ${PLATFORM}`,
  ]);
  const isOld = made.output.includes(`database "${DATABASE}" already exists`);
  if (made.code !== 0 && !isOld) throw notClosed(cluster, made.output);
  if (isOld) {
    const given = await runSql(cluster, DATABASE, [
      `ALTER DATABASE ${DATABASE} OWNER TO ${PLATFORM}`,
      GIVE_TO_PLATFORM,
    ]);
    if (given.code !== 0) throw notClosed(cluster, given.output);
  }
  const draft = join(data, "pg_hba.conf.new");
  await rm(draft, { force: true });
  await writeFile(draft, loginRules(password), { mode: 0o600, flush: cluster.sync });
  if (isNobodys) await chown(draft, NOBODY.uid, NOBODY.gid);
  await rename(draft, join(data, "pg_hba.conf"));
}

const notClosed = ({ data }: Cluster, output: string): SetupError =>
  new SetupError(`PostgreSQL: the roles of the cluster ${data} cannot be set up: ${lastLine(output)}`);

/**
 * Gives the platform what the superuser (10) made in its database. A sequence of a column goes with its
 * table.
 */
const GIVE_TO_PLATFORM = `DO $$ DECLARE
  change text;
  theirs oid[] := ARRAY(SELECT oid FROM pg_namespace
                        WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema');
BEGIN
  FOR change IN
    SELECT format('ALTER SCHEMA %I OWNER TO ${PLATFORM}', nspname) FROM pg_namespace
      WHERE nspowner = 10 AND oid = ANY (theirs)
    UNION ALL
    SELECT format('ALTER TABLE %s OWNER TO ${PLATFORM}', class.oid::regclass) FROM pg_class class
      WHERE relowner = 10 AND relnamespace = ANY (theirs) AND relkind IN ('r', 'p', 'v', 'm', 'S')
        AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass
                          AND objid = class.oid AND deptype IN ('a', 'i'))
    UNION ALL
    SELECT format('ALTER ROUTINE %s OWNER TO ${PLATFORM}', oid::regprocedure) FROM pg_proc
      WHERE proowner = 10 AND pronamespace = ANY (theirs)
    UNION ALL
    SELECT format('ALTER TYPE %s OWNER TO ${PLATFORM}', oid::regtype) FROM pg_type
      WHERE typowner = 10 AND typnamespace = ANY (theirs) AND typtype IN ('e', 'd')
  LOOP EXECUTE change; END LOOP;
END $$`;

/**
 * Runs statements as the cluster's superuser, by PostgreSQL's single-user mode, which needs the cluster's
 * files and no login. Ends at the first error.
 */
function runSql(cluster: Cluster, database: string, statements: string[]): Promise<Ended> {
  const settings = {
    exit_on_error: "on",
    // The statement of an error has the password in it.
    log_min_error_statement: "panic",
    ...(!cluster.sync && { fsync: "off", synchronous_commit: "off", full_page_writes: "off" }),
  };
  const options = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  // With -j, a statement ends with a semicolon and an empty line.
  const input = statements.map((statement) => `${statement};\n\n`).join("");
  return runIn(cluster, join(cluster.bin, "postgres"), ["--single", "-j", ...options, database], input);
}

interface Ended {
  code: number | null;
  output: string;
}

async function runIn(cluster: Cluster, program: string, rest: string[], input = ""): Promise<Ended> {
  const { command, args, user } = cluster.asUser(program, rest);
  const child = spawn(command, args, {
    cwd: cluster.data,
    env: { ...process.env, PGDATA: dataFolderOf(cluster) },
    stdio: ["pipe", "ignore", "pipe"],
    ...user,
  });
  let output = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  child.stdin?.on("error", () => {}); // it ended without reading
  child.stdin?.end(input);
  return new Promise((resolve) => {
    child.once("error", (error) => resolve({ code: null, output: error.message }));
    child.once("close", (code) => resolve({ code, output }));
  });
}

const exists = (file: string): Promise<boolean> =>
  access(file).then(
    () => true,
    () => false,
  );

/** Returns the last line that names a failure, else the last line. */
function lastLine(text: string): string {
  const lines = text.trim().split("\n");
  return lines.findLast((line) => /\b(FATAL|ERROR|error):/.test(line)) ?? lines.at(-1) ?? "";
}
