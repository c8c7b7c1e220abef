import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import { access, chmod, mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { SetupError } from "../setup-error.ts";
import { withInstallLock } from "./install-lock.ts";
import type { Log } from "./service.ts";

/** A program that a service needs, and the methods to install it. */
export interface Program {
  /** Its name in messages: `Temporal CLI`. */
  title: string;
  /** The file name on PATH and in the cache. */
  binary: string;
  /** The environment variable that names it: `TEMPORAL_CLI`. */
  variable: string;
  /** Tried in order when it is neither named, nor on PATH, nor cached. */
  methods: InstallMethod[];
  /** The end of the error's line: `install Go 1.24 or newer`. */
  remedy: string;
  /** Checks the output of `--version`. Returns the reason when the program is unusable. */
  objection?(version: string): string | undefined;
}

/** A method to install a program. */
export interface InstallMethod {
  /** `downloading https://…`, for the progress line and the error. */
  description: string;
  /**
   * Installs the program into `folder` under its own name and returns its path, or returns the path to which
   * a package manager installed it. Rejects with a short reason.
   */
  obtain(need: {
    folder: string;
    binary: string;
    log: Log;
    signal?: AbortSignal | undefined;
  }): Promise<string>;
}

const run = promisify(execFile);
const VERSION_WITHIN_MS = 30_000;

/** Returns `$TEMPERA_CACHE`, else `$XDG_CACHE_HOME/tempera`, else `~/.cache/tempera`. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  return resolve(env.TEMPERA_CACHE || join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "tempera"));
}

/** The path of a program, or the reason why none is usable. */
export type Located = { path: string; problem?: never } | { path?: never; problem: string };

/** Finds a program without installing it: by its variable, then on PATH, then in the cache. */
export async function locateProgram(
  program: Program,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Located> {
  const named = env[program.variable];
  if (named) {
    const fault = (await isExecutable(named))
      ? await faultOf(program, named)
      : "it is not an executable file";
    return fault ? { problem: `${program.variable} names ${named}, but ${fault}` } : { path: named };
  }
  const bin = join(cacheFolder(env), "bin");
  const folders = [...(env.PATH ?? "").split(delimiter).filter((folder) => folder !== ""), bin];
  const problems: string[] = [];
  for (const path of folders.map((folder) => join(folder, program.binary))) {
    if (!(await isExecutable(path))) continue;
    const fault = await faultOf(program, path, bin);
    if (!fault) return { path };
    problems.push(`${path}: ${fault}`);
  }
  return { problem: problems.join("; ") || `not on PATH, not in ${bin}` };
}

/**
 * Resolves with the path of a program. When it is not found, it is installed by the first method that
 * succeeds and kept in the cache. Of processes that install at the same time one does so, and the others
 * wait.
 *
 * Rejects with `setup_failed`; the one-line message names the program, what was tried, and the remedy.
 */
export async function findProgram(
  program: Program,
  { log, env = process.env, signal }: { log: Log; env?: NodeJS.ProcessEnv; signal?: AbortSignal | undefined },
): Promise<string> {
  const located = await locateProgram(program, env);
  if (located.path) return located.path;
  if (env[program.variable]) throw new SetupError(`${located.problem}; correct it or unset it`);

  const bin = join(cacheFolder(env), "bin");
  const cached = join(bin, program.binary);
  try {
    await mkdir(bin, { recursive: true });
  } catch (error) {
    throw new SetupError(
      `${program.title}: the cache ${bin} cannot be written (${reason(error)}); ` +
        "set TEMPERA_CACHE to a folder that can",
    );
  }
  return withInstallLock(
    `${cached}.lock`,
    (holder) => log(`${program.title}: process ${holder} is installing it, waiting`),
    async () => {
      if ((await isExecutable(cached)) && !(await faultOf(program, cached, bin))) return cached;
      const tried = [located.problem];
      for (const method of program.methods) {
        const result = await install(program, method, { bin, log, signal });
        signal?.throwIfAborted();
        if (result.path) return result.path;
        tried.push(result.problem);
      }
      throw new SetupError(
        `${program.title} not found: ${tried.join("; ")}. Set ${program.variable} to a binary, ` +
          `put \`${program.binary}\` on PATH, or ${program.remedy}.`,
      );
    },
    signal,
  );
}

/** Installs a program by one method, into the folder `bin` unless a package manager put it elsewhere. */
async function install(
  program: Program,
  method: InstallMethod,
  { bin, log, signal }: { bin: string; log: Log; signal: AbortSignal | undefined },
): Promise<Located> {
  const cached = join(bin, program.binary);
  const folder = await mkdtemp(join(bin, ".installing-"));
  try {
    log(`${program.title}: ${method.description}`);
    const path = await method.obtain({ folder, binary: program.binary, log, signal });
    if (path.startsWith(folder)) await chmod(path, 0o755);
    const fault = await faultOf(program, path);
    if (fault) throw new Error(fault);
    if (!path.startsWith(folder)) return { path };
    await writeFile(digestFile(cached), await sha256Of(path));
    await rename(path, cached);
    log(`${program.title}: ready, kept in ${cached}`);
    return { path: cached };
  } catch (error) {
    log(`${program.title}: that failed (${reason(error)})`);
    return { problem: `${method.description}: ${reason(error)}` };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Runs a program with `--version`. Returns the reason when it is unusable.
 *
 * @param bin the cache's folder: a program in it that was changed since its installation is not run
 */
async function faultOf(program: Program, path: string, bin?: string): Promise<string | undefined> {
  try {
    const changed = path === join(bin ?? "", program.binary) ? await changeOf(path) : undefined;
    if (changed) return changed;
    const { stdout } = await run(path, ["--version"], { timeout: VERSION_WITHIN_MS });
    return program.objection?.(stdout);
  } catch (error) {
    return `it does not run (${reason(error)})`;
  }
}

const digestFile = (cached: string): string => `${cached}.sha256`;

/**
 * Compares a cached program with the digest of its installation. One from before digests were kept gets its
 * digest now.
 */
async function changeOf(cached: string): Promise<string | undefined> {
  const found = await sha256Of(cached);
  const expected = (await readFile(digestFile(cached), "utf8").catch(() => "")).trim();
  if (expected === "") await writeFile(digestFile(cached), found).catch(() => {});
  return expected === "" || found === expected
    ? undefined
    : `it has the SHA-256 ${found}, and had ${expected} when it was installed; remove it, so that it is ` +
        "installed anew, and find out who changed it";
}

/** Computes the SHA-256 of a file, in lower-case hex. */
export async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}

/** Returns the first line of an error. */
const reason = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split("\n")[0] ?? "";
