import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { access, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { SetupError } from "../setup-error.ts";
import { withInstallLock } from "./install-lock.ts";
import { cacheFolder } from "./program.ts";
import type { Log } from "./service.ts";

/** fal's official Python client, in the version that the tests use. */
export const FAL_CLIENT = "fal-client==1.0.3";

const run = promisify(execFile);
/** Longest installation by default, in milliseconds. */
const PIP_WITHIN_MS = 5 * 60_000;
/** The oldest Python that fal's client runs on. */
const PYTHON_AT_LEAST = [3, 9] as const;

export interface PythonEnvOptions {
  log: Log;
  env?: NodeJS.ProcessEnv;
  withinMs?: number;
  /** Major and minor version of the oldest Python that is accepted. */
  atLeast?: readonly [number, number];
}

/**
 * Resolves with the `python` of a virtual environment that has these packages. The environment is created
 * once, in the cache, also for concurrent processes. `PYTHON` names its interpreter, `python3` by default.
 *
 * Rejects with `setup_failed`; the one-line message names what is missing and the remedy.
 *
 * @param packages requirements as pip reads them, each pinned: `fal-client==1.0.3`
 */
export async function pythonEnv(
  packages: readonly string[],
  { log, env = process.env, withinMs = PIP_WITHIN_MS, atLeast = PYTHON_AT_LEAST }: PythonEnvOptions,
): Promise<string> {
  const base = env.PYTHON || "python3";
  const version = await run(base, ["--version"]).then(
    ({ stdout }) => stdout.trim(),
    (error: Error) => {
      throw new SetupError(
        `Python cannot be run as ${base} (${firstLine(error)}); ` +
          `install Python ${atLeast.join(".")} or newer with venv, or set PYTHON to it`,
      );
    },
  );
  const [, major = 0, minor = 0] = (/(\d+)\.(\d+)/.exec(version) ?? []).map(Number);
  if (major < atLeast[0] || (major === atLeast[0] && minor < atLeast[1])) {
    throw new SetupError(
      `${base} is ${version}; install Python ${atLeast.join(".")} or newer with venv, or set PYTHON to it`,
    );
  }
  const hash = createHash("sha256")
    .update([version, ...packages].join("\n"))
    .digest("hex")
    .slice(0, 12);
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
      log(`Python packages: installing ${packages.join(" ")} (once)`);
      try {
        await run(base, ["-m", "venv", folder]);
        await run(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", ...packages], {
          timeout: withinMs,
        });
      } catch (error) {
        throw new SetupError(
          `${packages.join(" ")} could not be installed with ${version} (${firstLine(error)}); ` +
            "check that python3-venv is installed and that pip reaches its index",
        );
      }
      await writeFile(complete, "");
      return python;
    },
  );
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** Returns the last line that a failed program printed, else the first line of the error. */
const firstLine = (error: unknown): string => {
  const { stderr = "", message = String(error) } = error as { stderr?: string; message?: string };
  return stderr.trim().split("\n").at(-1) || (message.split("\n")[0] ?? "");
};
