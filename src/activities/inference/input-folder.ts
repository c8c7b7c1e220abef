import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";

/**
 * `tempera-inputs-<host>-<process id>-<random>`: the host, since machines may share a folder and not their
 * process ids.
 */
const prefixOf = (host: string): string => `tempera-inputs-${host.replace(/[^A-Za-z0-9.]/g, "_")}-`;

/**
 * A folder for input files that is removed with its process: at its end, or when it was killed, by the next
 * one.
 */
export interface InputFolder extends AsyncDisposable {
  path: string;
}

/**
 * Makes the folder that a GPU worker puts its input files into, and removes those of workers of this host
 * that are no more.
 *
 * @param parent the system's folder for temporary files
 */
export async function openInputFolder(parent: string, host = hostname()): Promise<InputFolder> {
  const prefix = prefixOf(host);
  for (const name of await readdir(parent)) {
    const pid = name.startsWith(prefix) ? /^(\d+)-[^-]*$/.exec(name.slice(prefix.length))?.[1] : undefined;
    const path = join(parent, name);
    if (pid !== undefined && !(await isUsed(Number(pid), path)))
      await rm(path, { recursive: true, force: true });
  }
  const path = await mkdtemp(join(parent, `${prefix}${process.pid}-`));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/**
 * Whether its process lives. A container's has the same id each time: what was last used before this one
 * began is not its own.
 */
async function isUsed(pid: number, path: string): Promise<boolean> {
  if (pid === process.pid) {
    const made = await stat(path).catch(() => undefined);
    return made !== undefined && made.mtimeMs >= Date.now() - process.uptime() * 1000;
  }
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Another user's process lives too.
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
