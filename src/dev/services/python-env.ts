import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { access, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { SetupError } from "../setup-error.ts";
import { withInstallLock } from "./install-lock.ts";
import { cacheFolder } from "./program.ts";
import type { Log } from "./service.ts";

const run = promisify(execFile);

/** The arguments of Python that install a list whose path follows. */
const INSTALL = [
  ...["-m", "pip", "install", "--quiet", "--disable-pip-version-check"],
  ...["--require-hashes", "--only-binary=:all:", "--requirement"],
];
/** Longest installation, in milliseconds: 3 GB for an engine, over a slow connection. */
const PIP_WITHIN_MS = 15 * 60_000;
export interface PythonEnvOptions {
  log: Log;
  env?: NodeJS.ProcessEnv;
}

/**
 * Resolves with the `python` of a virtual environment that has the packages of a list, and no others. The
 * environment is created once, in the cache, also for concurrent processes. `PYTHON` names its interpreter,
 * `python3` by default.
 *
 * Every file is compared with the SHA-256 in the list before it is unpacked, and none is built from source,
 * which would run code that the list does not name.
 *
 * Rejects with `setup_failed`; the one-line message names what is missing and the remedy.
 *
 * @param list a file that `npm run lock:python` wrote
 */
export async function pythonEnv(list: string, { log, env = process.env }: PythonEnvOptions): Promise<string> {
  const pinned = await readFile(list, "utf8");
  const base = env.PYTHON || "python3";
  const version = await pythonVersion(base, oldestPython(list, pinned));
  const hash = createHash("sha256").update([version, pinned].join("\n")).digest("hex").slice(0, 12);
  const folder = join(cacheFolder(env), `python-${hash}`);
  const python = join(folder, "bin/python");
  // Written last: a folder without it is incomplete.
  const complete = join(folder, "complete");
  if (await exists(complete)) return python;
  return withInstallLock(
    `${folder}.lock`,
    (holder) => log(`Python packages: process ${holder} is installing them, waiting`),
    async () => {
      if (await exists(complete)) return python;
      await rm(folder, { recursive: true, force: true });
      await mkdir(folder, { recursive: true });
      log(`Python packages: installing those of ${list} (once)`);
      try {
        await run(base, ["-m", "venv", folder], { env });
        await run(python, [...INSTALL, list], { timeout: PIP_WITHIN_MS, env });
      } catch (error) {
        throw new SetupError(failureOf(error, list, version));
      }
      await writeFile(complete, "");
      return python;
    },
  );
}

/** Reads the oldest Python that a list is for, from its first line. */
function oldestPython(list: string, pinned: string): [major: number, minor: number] {
  const [, major, minor] = /^#.*Python (\d+)\.(\d+) or newer/.exec(pinned) ?? [];
  if (major === undefined)
    throw new SetupError(`${list} names no Python in its first line; write it with \`npm run lock:python\``);
  return [Number(major), Number(minor)];
}

/** Asks an interpreter for its version. Rejects when it is older than that. */
async function pythonVersion(base: string, [atLeast, minorAtLeast]: [number, number]): Promise<string> {
  const remedy = `install Python ${atLeast}.${minorAtLeast} or newer with venv, or set PYTHON to it`;
  const version = await run(base, ["--version"]).then(
    ({ stdout }) => stdout.trim(),
    (error: Error) => {
      throw new SetupError(`Python cannot be run as ${base} (${lastLine(error)}); ${remedy}`);
    },
  );
  const [, major = 0, minor = 0] = (/(\d+)\.(\d+)/.exec(version) ?? []).map(Number);
  if (major < atLeast || (major === atLeast && minor < minorAtLeast))
    throw new SetupError(`${base} is ${version}; ${remedy}`);
  return version;
}

function failureOf(error: unknown, list: string, version: string): string {
  const { stderr = "", killed = false } = error as { stderr?: string; killed?: boolean };
  if (killed)
    return `the packages of ${list} were not installed within ${PIP_WITHIN_MS / 60_000} minutes; try again`;
  if (stderr.includes("DO NOT MATCH THE HASHES"))
    return (
      `a package of ${list} has another SHA-256 than was reviewed (${lastLine(error)}); ` +
      "it was refused: find out who answers for pip's index"
    );
  return (
    `the packages of ${list} could not be installed with ${version} (${lastLine(error)}); ` +
    "check that python3-venv is installed and that pip reaches its index"
  );
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** Returns the last line that a failed program printed, else the first line of the error. */
const lastLine = (error: unknown): string => {
  const { stderr = "", message = String(error) } = error as { stderr?: string; message?: string };
  return stderr.trim().split("\n").at(-1) || (message.split("\n")[0] ?? "");
};
