/**
 * One platform a data folder. `platform.json` of the folder names the platform that runs on it: its process,
 * and its address once it is ready.
 */
import { execFile } from "node:child_process";
import { link, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { z } from "zod";

const run = promisify(execFile);

const holder = z.object({
  pid: z.number().int(),
  /** When the process started: another process may have its id by now. */
  startedAt: z.string(),
  url: z.string().optional(),
});

type Holder = z.infer<typeof holder>;

export interface HeldFolder {
  /** Notes where the platform is, for those who start a second one. */
  announce(url: string): Promise<void>;
  release(): Promise<void>;
}

/**
 * Takes a data folder for this process. Rejects when the platform of another process runs on it; a folder
 * whose platform was killed is taken over.
 */
export async function takeFolder(folder: string): Promise<HeldFolder> {
  const file = join(folder, "platform.json");
  const startedAt = await startOf(process.pid);
  const self: Holder = { pid: process.pid, startedAt: startedAt ?? "" };
  const draft = `${file}.${process.pid}`;
  try {
    for (;;) {
      await writeFile(draft, `${JSON.stringify(self)}\n`, { mode: 0o600 });
      if (await linked(draft, file)) break;
      const other = await readHolder(file);
      if (other && (await startOf(other.pid)) === other.startedAt) throw new Error(inUse(folder, other));
      await rm(file, { force: true });
    }
  } finally {
    await rm(draft, { force: true });
  }
  return {
    async announce(url) {
      await writeFile(draft, `${JSON.stringify({ ...self, url })}\n`, { mode: 0o600 });
      await rename(draft, file);
    },
    release: () => rm(file, { force: true }),
  };
}

const inUse = (folder: string, { pid, url }: Holder): string =>
  `A platform runs on the data folder ${folder} already: process ${pid}, ${url ?? "which is starting"}. ` +
  `Use that one, stop it with \`kill ${pid}\`, or set TEMPERA_DATA to another folder.`;

/** Links a complete file to its name, which is atomic. Resolves to false when the name is taken. */
async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

async function readHolder(file: string): Promise<Holder | undefined> {
  try {
    return holder.parse(JSON.parse(await readFile(file, "utf8")));
  } catch {
    return undefined;
  }
}

/** Tells when a process started, in the words of the system; `undefined` if there is no such process. */
async function startOf(pid: number): Promise<string | undefined> {
  if (process.platform === "linux") {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
    const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => "");
    // After the name come the state, and 19 fields later the time since the boot.
    const [state, ...fields] = stat?.split(") ").at(-1)?.split(" ") ?? [];
    return state && state !== "Z" ? `${boot.trim()}/${fields[18]}` : undefined;
  }
  const { stdout } = await run("ps", ["-o", "lstart=", "-p", String(pid)]).catch(() => ({ stdout: "" }));
  return stdout.trim() || undefined;
}
