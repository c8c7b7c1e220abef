import { link, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** Longer than any installation takes: a lock this old was left by a process of another container. */
const STALE_AFTER_MS = 20 * 60_000;

/**
 * Runs `work` while no other process on this machine holds the lock file. A lock whose holder died is taken
 * over.
 *
 * It saves work that would be done twice; what must not break when two hold it (a take-over at the same
 * moment) is done by an atomic rename.
 *
 * @param waiting called once when somebody else holds it, with their process id
 */
export async function withInstallLock<T>(
  file: string,
  waiting: (holder: number) => void,
  work: () => Promise<T>,
): Promise<T> {
  await mkdir(dirname(file), { recursive: true });
  let told = false;
  while (!(await take(file))) {
    const holder = Number(await readFile(file, "utf8").catch(() => ""));
    const ageMs = Date.now() - (await stat(file).catch(() => ({ mtimeMs: 0 }))).mtimeMs;
    if (!isAlive(holder) || ageMs > STALE_AFTER_MS) {
      await rm(file, { force: true });
      continue;
    }
    if (!told) waiting(holder);
    told = true;
    await sleep(250);
  }
  try {
    return await work();
  } finally {
    await rm(file, { force: true });
  }
}

/** Linking a written file makes the lock appear with its holder in it, or not at all. */
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

/** Whether a process exists; one of another user answers EPERM, and exists. */
export function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
