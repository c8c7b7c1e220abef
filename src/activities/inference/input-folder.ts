import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";

/**
 * The prefix of `tempera-inputs-<host>-<process id>-<random>`. It contains the host, since machines may share
 * a folder but not their process ids.
 */
function prefixOf(host: string): string {
  return `tempera-inputs-${host.replace(/[^A-Za-z0-9.]/g, "_")}-`;
}

/**
 * A folder for input files. It is removed at the end of its process or, if that was killed, by the next one.
 */
export interface InputFolder extends AsyncDisposable {
  path: string;
}

/**
 * Creates the folder for the input files of a GPU worker, and removes the folders of workers of this host
 * that have died.
 *
 * @param parent the folder of the system for temporary files
 */
export async function openInputFolder(parent: string, host = hostname()): Promise<InputFolder> {
  const prefix = prefixOf(host);
  for (const name of await readdir(parent)) {
    const pid = name.startsWith(prefix) ? /^(\d+)-[^-]*$/.exec(name.slice(prefix.length))?.[1] : undefined;
    const path = join(parent, name);
    if (pid !== undefined && !(await isInUse(Number(pid), path)))
      await rm(path, { recursive: true, force: true });
  }
  const path = await mkdtemp(join(parent, `${prefix}${process.pid}-`));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/**
 * Checks whether the folder's process is alive. A process in a container has the same id after each restart:
 * a folder that was last used before this process started belongs to an earlier one.
 */
async function isInUse(pid: number, path: string): Promise<boolean> {
  if (pid === process.pid) {
    const found = await stat(path).catch(() => undefined);
    return found !== undefined && found.mtimeMs >= Date.now() - process.uptime() * 1000;
  }
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: the process of another user is alive too.
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
