/** The data folder: keys, databases and the files of callers, for the eyes of its user only. */
import { chmod, lstat, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";

/** Permission bits of everybody but a folder's user. */
const OTHERS = 0o077;

/**
 * The entries that earlier versions left open to others. The weights of pushed models are not among them: an
 * engine may run as a user of its own, which the folder above keeps from everything else.
 */
const ENTRIES = ["postgres", "temporal", "objects", "tls", "key", "ports.json", "platform.json"];

/**
 * Creates the data folder (mode 0700). The folder of an earlier version, whose files others could read, is
 * closed with all that the platform has in it.
 *
 * Rejects with the error of the file system, also when the folder is another user's.
 */
export async function closeDataFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const { mode } = await lstat(folder);
  if ((mode & OTHERS) === 0) return;
  await Promise.all(ENTRIES.map((name) => close(join(folder, name))));
  // Last: an interrupted start begins again.
  await chmod(folder, mode & 0o777 & ~OTHERS);
}

/** Closes a file or a folder, and what is in the folder after it. Leaves symbolic links as they are. */
async function close(path: string): Promise<void> {
  const found = await lstat(path).catch(unlessMissing);
  if (!found || found.isSymbolicLink()) return;
  const { mode } = found;
  if (mode & OTHERS) await chmod(path, mode & 0o777 & ~OTHERS).catch(unlessMissing);
  if (!found.isDirectory()) return;
  for (const name of (await readdir(path).catch(unlessMissing)) ?? []) await close(join(path, name));
}

/** A file may be removed meanwhile. */
function unlessMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}
