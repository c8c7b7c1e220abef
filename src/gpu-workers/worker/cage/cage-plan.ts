/** What an isolated engine may see, use up and do: the plan that `run-caged.cjs` carries out. */
import { existsSync, readdirSync, realpathSync, statSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { cpus } from "node:os";
import { dirname, join, resolve } from "node:path";
import { LIMITS } from "../../../core/limits.ts";

/** The layers of a cage, each a feature of the kernel that holds when the others should fail. */
export interface CageLayers {
  /** Mounts, processes, network and names of its own, made by the program `unshare`. */
  namespaces: boolean;
  /** Its own user id, and no process of that user outside. Only root can give one. */
  user: boolean;
  /** Landlock: files, TCP, signals and abstract sockets. */
  landlock: boolean;
  /** seccomp: the system calls of `call-filter.cjs`. */
  seccomp: boolean;
  /** Resource limits, no capabilities and no new privileges. */
  limits: boolean;
}

export interface CagePlan {
  /** Absolute path of a program, and its arguments. */
  command: readonly string[];
  environment: Record<string, string>;
  /** Files and folders to read and execute; those that do not exist are left out. */
  readable: readonly string[];
  /** The folder in which the engine makes its socket, and nothing else. */
  exchange: string;
  /** The folder of the input files of its runs. */
  inputs: string;
  /** The only folder that the engine may write to; in memory when it has namespaces. */
  scratch: string;
  scratchBytes: number;
  /** An empty folder on which the engine's own root is mounted. */
  root: string;
  /** Device files of its GPU. */
  devices: readonly string[];
  namespaces: boolean;
  landlock: boolean;
  seccomp: boolean;
  user?: number;
  limits?: Record<string, number>;
}

/** The system's programs and libraries, and what they read. None of it is a secret. */
const SYSTEM = [
  "/usr",
  "/bin",
  "/sbin",
  "/lib",
  "/lib32",
  "/lib64",
  "/nix/store",
  "/etc/ld.so.cache",
  "/etc/ld.so.conf",
  "/etc/ld.so.conf.d",
  "/etc/localtime",
  "/etc/ssl/openssl.cnf",
  "/etc/ssl/certs",
  "/etc/pki/tls/openssl.cnf",
  "/etc/alternatives",
  "/sys/class/drm",
  "/sys/devices/system",
  "/sys/fs/cgroup",
];

/** Lists what every engine may read: the system's libraries, and this Node with its own. */
export function systemPaths(): string[] {
  const node = process.execPath;
  return withTargets([...SYSTEM, node, join(dirname(dirname(node)), "lib")]);
}

/**
 * Lists what an engine on `device` needs of a GPU's driver: its device files by name, and the driver's facts.
 *
 * @param folder of the devices
 */
export function gpuPaths(device: string, folder = "/dev"): { devices: string[]; readable: string[] } {
  if (device === "cpu" || !existsSync(folder)) return { devices: [], readable: [] };
  const devices = readdirSync(folder)
    .filter((name) => /^(nvidia(\d+|ctl|-uvm|-uvm-tools|-modeset|-caps)|dri|kfd)$/.test(name))
    .map((name) => join(folder, name));
  return { devices, readable: ["/sys"] };
}

/** Adds the targets of paths that are links, or lie behind one, and drops paths that do not exist. */
export function withTargets(paths: readonly string[]): string[] {
  const present = paths.map((path) => resolve(path)).filter((path) => existsSync(path));
  return [...new Set(present.flatMap((path) => [path, realpathSync(path)]))];
}

/** Finds a program as a shell does; gives the name itself when there is none. */
export function locateProgram(name: string, path = process.env.PATH ?? ""): string {
  if (name.includes("/")) return resolve(name);
  const found = path.split(":").map((folder) => join(folder, name));
  return found.find((file) => existsSync(file) && statSync(file).isFile()) ?? name;
}

/** Lists everything in a model's folder, which may hold links to weights that lie elsewhere. */
export async function filesOfModel(folder: string): Promise<{ files: string[]; links: string[] }> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const named = entries.map((entry) => ({ entry, file: join(entry.parentPath, entry.name) }));
  return {
    files: named.map(({ file }) => file),
    links: named.filter(({ entry }) => entry.isSymbolicLink()).map(({ file }) => file),
  };
}

/**
 * Finds a file or folder that other users cannot read among these paths; `undefined` when there is none. With
 * `byPath`, they must also be able to come to it through the folders above.
 */
export async function closedPath(paths: readonly string[], byPath: boolean): Promise<string | undefined> {
  const above = byPath ? new Set(paths.flatMap(foldersAbove)) : [];
  const modeOf = async (path: string) => (await stat(path).catch(() => undefined))?.mode;
  for (const path of above) if (((await modeOf(path)) ?? 0o001) % 2 === 0) return path;
  for (const path of paths) if ((((await modeOf(path)) ?? 0o004) & 0o004) === 0) return path;
  return undefined;
}

function foldersAbove(path: string): string[] {
  const folder = dirname(path);
  return folder === path ? [] : [...foldersAbove(folder), folder];
}

/**
 * Chooses the resource limits of an engine. Memory counts as the private memory of each of its processes, not
 * as address space, of which V8 and CUDA reserve far more than they use. An engine on a GPU has no such
 * limit, since CUDA mirrors the GPU's memory in it. The number of processes is limited only where the
 * engine's are counted apart from everybody else's.
 */
export function engineLimits(
  memoryMiB: number,
  device: string,
  isCountedApart: boolean,
): Record<string, number> {
  const dataMiB = LIMITS.engineDataMiB + LIMITS.engineDataTimes * memoryMiB;
  return {
    coreBytes: 0,
    fileBytes: LIMITS.engineScratchBytesMax,
    openFiles: LIMITS.engineOpenFilesMax,
    ...(device === "cpu" && { dataBytes: dataMiB * 2 ** 20 }),
    ...(isCountedApart && { processes: LIMITS.engineProcessesMax + 4 * cpus().length }),
  };
}
