/** Builds of a folder's project, kept in the cache until one of its files changes. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { access, cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { withInstallLock } from "../../src/dev/services/install-lock.ts";
import { cacheFolder } from "../../src/dev/services/program.ts";
import type { Log } from "../../src/dev/services/service.ts";
import { SetupError } from "../../src/dev/setup-error.ts";

const run = promisify(execFile);
/** Longest build in milliseconds. The first one on a machine fetches its libraries. */
const BUILD_WITHIN_MS = 5 * 60_000;

export interface CachedBuild {
  /** The builder's name in messages: `Maven`. */
  builder: string;
  /** Folder of the project. It is copied to the cache and built there. */
  project: string;
  /** The start of the folder's name in the cache: `jvm`. */
  prefix: string;
  /** Programs with their arguments, and checks of the copy, run in order in it. */
  steps: ([command: string, ...args: string[]] | ((folder: string) => Promise<void>))[];
  log: Log;
  env?: NodeJS.ProcessEnv | undefined;
}

/**
 * Resolves to the folder of a project's build. A project is built once, also for concurrent processes.
 *
 * Rejects with `setup_failed`; the one-line message names the reason and the remedy.
 */
export async function cachedBuild(build: CachedBuild): Promise<string> {
  const { builder, project, prefix, log, env = process.env } = build;
  const folder = join(cacheFolder(env), `${prefix}-${await hashOf(build)}`);
  // Written last: a folder without it is incomplete.
  const complete = join(folder, "complete");
  if (await exists(complete)) return folder;
  return withInstallLock(
    `${folder}.lock`,
    (holder) => log(`${builder}: process ${holder} is building ${project}, waiting`),
    async () => {
      if (await exists(complete)) return folder;
      await rm(folder, { recursive: true, force: true });
      await mkdir(folder, { recursive: true });
      await cp(project, folder, { recursive: true });
      log(`${builder}: building ${project} (once)`);
      for (const step of build.steps) {
        if (typeof step === "function") {
          await step(folder);
          continue;
        }
        const [command, ...args] = step;
        await run(command, args, { cwd: folder, env, timeout: BUILD_WITHIN_MS }).catch((error) => {
          throw new SetupError(
            `${builder} could not build ${project} (${reasonOf(error)}); let it reach its repository`,
          );
        });
      }
      await writeFile(complete, "");
      return folder;
    },
  );
}

async function hashOf({ project, steps }: CachedBuild): Promise<string> {
  const hash = createHash("sha256").update(JSON.stringify(steps));
  const entries = await readdir(project, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
  for (const file of files.sort()) hash.update(file.slice(project.length)).update(await readFile(file));
  return hash.digest("hex").slice(0, 12);
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** Returns the first error that a builder printed: Maven on its output, npm on its error output. */
function reasonOf(error: { stdout?: string; stderr?: string; message?: string }): string {
  const lines = `${error.stdout ?? ""}\n${error.stderr ?? ""}`.split("\n");
  const first = lines.find((line) => /error/i.test(line)) ?? error.message ?? String(error);
  return first.replace(/^.*?(ERROR|npm error)\S*\s*/, "").split("\n")[0] ?? "";
}
