import { link, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { sleep } from "../../core/concurrency/sleep.ts";

/**
 * Longer than any installation, in milliseconds: a lock of this age was left by a process of another
 * container.
 */
const STALE_AFTER_MS = 20 * 60_000;

/**
 * Runs `work` while no other process on this machine holds the lock file. A lock whose holder died is taken
 * over.
 *
 * The lock only avoids doing work twice: two processes may hold it after a take-over at the same moment, so
 * results must be put in place by an atomic rename.
 *
 * @param waiting called once when another process holds it, with its id
 */
export async function withInstallLock<T>(
  file: string,
  waiting: (holder: number) => void,
  work: () => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  await mkdir(dirname(file), { recursive: true });
  let isWaiting = false;
  while (!(await take(file))) {
    const holder = Number(await readFile(file, "utf8").catch(() => ""));
    const ageMs = Date.now() - (await stat(file).catch(() => ({ mtimeMs: 0 }))).mtimeMs;
    if (!isAlive(holder) || ageMs > STALE_AFTER_MS) {
      await rm(file, { force: true });
      continue;
    }
    if (!isWaiting) waiting(holder);
    isWaiting = true;
    signal?.throwIfAborted();
    await sleep(250);
  }
  try {
    return await work();
  } finally {
    await rm(file, { force: true });
  }
}

/** Creates the lock with its holder in it, atomically: a written file is linked to its name. */
async function take(file: string): Promise<boolean> {
  const claim = `${file}.${process.pid}.${Math.random().toString(36).slice(2)}`;
  await writeFile(claim, String(process.pid));
  try {
    await link(claim, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  } finally {
    await rm(claim, { force: true });
  }
}

/** Returns whether a process exists. EPERM means that it exists and belongs to another user. */
export function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
