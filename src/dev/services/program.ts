import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access, chmod, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { promisify } from "node:util";
import { SetupError } from "../setup-error.ts";
import { withInstallLock } from "./install-lock.ts";
import type { Log } from "./service.ts";

/** A program that a service needs, and how to come by it. */
export interface Program {
  /** `Temporal CLI`, as people say it. */
  title: string;
  /** The file name on PATH and in the cache. */
  binary: string;
  /** The environment variable that names it: `TEMPORAL_CLI`. */
  variable: string;
  /** Tried in order once it is neither named, nor on PATH, nor cached. */
  ways: Way[];
  /** The end of the error's line: `install Go 1.24 or newer`. */
  remedy: string;
  /** Judges the output of `--version`: what is wrong with it, or nothing. */
  objection?(version: string): string | undefined;
}

/** One way to come by a program. */
export interface Way {
  /** `downloading https://…`, for the progress line and the error. */
  says: string;
  /**
   * Puts the program into `folder` under its own name and returns its path, or returns the path where a
   * package manager put it. Rejects with a short reason.
   */
  obtain(need: { folder: string; binary: string; log: Log }): Promise<string>;
}

const run = promisify(execFile);
const VERSION_WITHIN_MS = 30_000;

/** `$TEMPERA_CACHE`, else `$XDG_CACHE_HOME/tempera`, else `~/.cache/tempera`. */
export const cacheFolder = (env: NodeJS.ProcessEnv = process.env): string =>
  resolve(env.TEMPERA_CACHE || join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "tempera"));

/** Where a program is, or why there is none that can be used. */
export type Located = { path: string; problem?: never } | { path?: never; problem: string };

/** Looks for a program without installing it: the one its variable names → PATH → the cache. */
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
    const fault = await faultOf(program, path);
    if (!fault) return { path };
    problems.push(`${path}: ${fault}`);
  }
  return { problem: problems.join("; ") || `not on PATH, not in ${bin}` };
}

/**
 * Resolves with the path of a program: where it is, else by each of its ways, kept in the cache for the next
 * time. Two processes that install at once build once.
 *
 * Rejects with `setup_failed`, in one line: what is missing, what was tried, what to do.
 */
export async function findProgram(
  program: Program,
  options: { log: Log; env?: NodeJS.ProcessEnv },
): Promise<string> {
  const { log, env = process.env } = options;
  const located = await locateProgram(program, env);
  if (located.path) return located.path;
  if (env[program.variable]) throw new SetupError(`${located.problem}; correct it or unset it`);

  const tried = [located.problem];
  const bin = join(cacheFolder(env), "bin");
  const cached = join(bin, program.binary);
  try {
    await mkdir(bin, { recursive: true });
  } catch (error) {
    throw new SetupError(
      `${program.title}: the cache ${bin} cannot be written (${reason(error)}); set TEMPERA_CACHE to a folder that can`,
    );
  }
  return withInstallLock(
    `${cached}.lock`,
    (holder) => log(`${program.title}: process ${holder} is installing it, waiting`),
    async () => {
      if ((await isExecutable(cached)) && !(await faultOf(program, cached))) return cached;
      for (const way of program.ways) {
        const folder = await mkdtemp(join(bin, ".installing-"));
        try {
          log(`${program.title}: ${way.says}`);
          const path = await way.obtain({ folder, binary: program.binary, log });
          if (path.startsWith(folder)) await chmod(path, 0o755);
          const fault = await faultOf(program, path);
          if (fault) throw new Error(fault);
          if (!path.startsWith(folder)) return path;
          await rename(path, cached);
          log(`${program.title}: ready, kept in ${cached}`);
          return cached;
        } catch (error) {
          tried.push(`${way.says}: ${reason(error)}`);
          log(`${program.title}: that failed (${reason(error)})`);
        } finally {
          await rm(folder, { recursive: true, force: true });
        }
      }
      throw new SetupError(
        `${program.title} not found: ${tried.join("; ")}. Set ${program.variable} to a binary, put \`${program.binary}\` on PATH, or ${program.remedy}.`,
      );
    },
  );
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** What is wrong with a program, found by asking its version. */
async function faultOf(program: Program, path: string): Promise<string | undefined> {
  try {
    const { stdout } = await run(path, ["--version"], { timeout: VERSION_WITHIN_MS });
    return program.objection?.(stdout);
  } catch (error) {
    return `it does not run (${reason(error)})`;
  }
}

/** The first line of an error. */
const reason = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split("\n")[0] ?? "";
