/**
 * The cage of engines: what the operating system lets an engine see and do, when a file of a stranger or a
 * pushed model has taken it over.
 *
 * `openCage` tries once which layers this host has; `Cage.enclose` plans one engine's cage (`cage-plan.ts`);
 * `run-caged.cjs` puts the process into it and then becomes the engine. `lent-files.ts` hands over the input
 * files of a run.
 */
import { randomInt } from "node:crypto";
import { chmod, chown, mkdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Isolation } from "../../../core/engines/configured-engine.ts";
import { TemperaError } from "../../../core/errors/tempera-error.ts";
import { writeJson } from "../../../core/json/exact-json.ts";
import { LIMITS } from "../../../core/limits.ts";
import type { EngineProgram, IsolatedProgram } from "../process/engine-programs.ts";
import {
  type CageLayers,
  type CagePlan,
  closedPath,
  engineLimits,
  filesOfModel,
  gpuPaths,
  locateProgram,
  systemPaths,
  withTargets,
} from "./cage-plan.ts";
import { enterCommand } from "./enter-cage.ts";
import { LentFiles } from "./lent-files.ts";
import { type MissingLayer, probeLayers } from "./probe-layers.ts";

/** An engine to enclose: the program and what it is started for. */
export interface EngineToEnclose {
  program: EngineProgram;
  /** Path of its socket, in a folder of its own. */
  socket: string;
  environment: Record<string, string>;
  device: string;
  folder: string;
  memoryMiB: number;
}

export interface EnclosedEngine {
  command: readonly [string, ...string[]];
  environment: Record<string, string>;
  files: LentFiles;
  /** A sentence about a layer that this engine has to do without; `undefined` when it has all. */
  warning?: string;
  /** Processes between the child process and the engine, each the only child of the one before. */
  depth: number;
  /** Closes the folder of the socket, once the engine has made it. */
  seal(): Promise<void>;
  /** Removes its folders, when the engine is gone. */
  remove(): Promise<void>;
}

/**
 * The user ids of engines: systemd's range for services that have a user only while they run. Each engine has
 * another one, so that neither may send signals to the other.
 */
const USERS = { first: 61_184, count: 4_000 };

/** Wraps engines into the layers that the host has. */
export class Cage {
  readonly layers: CageLayers;
  readonly missing: readonly MissingLayer[];
  readonly #isolation: Exclude<Isolation, "off">;
  #lastUser = randomInt(USERS.count);

  constructor(
    isolation: Exclude<Isolation, "off">,
    { layers, missing }: { layers: CageLayers; missing: readonly MissingLayer[] },
  ) {
    this.#isolation = isolation;
    this.layers = layers;
    this.missing = missing;
  }

  /**
   * Plans the cage of one engine, and makes its folders beside its socket. Resolves with `undefined` on a
   * host that has no layer.
   */
  async enclose(engine: EngineToEnclose): Promise<EnclosedEngine | undefined> {
    if (!Object.values(this.layers).includes(true)) return undefined;
    const { namespaces } = this.layers;
    const own = (await engine.program.isolated?.(engine.environment)) ?? { readable: [] };
    const model = await filesOfModel(engine.folder);
    const readable = withTargets([...own.readable, engine.folder, ...model.links]);
    const closed = this.layers.user
      ? await closedPath([...readable, ...model.files], !namespaces)
      : undefined;
    const user = this.#nextUserUnless(closed);
    const folders = await makeFolders(dirname(engine.socket), namespaces, user);
    const plan = this.#plan(engine, { ...own, readable }, folders, user);
    const run = enterCommand(this.layers);
    return {
      command: run.command,
      environment: { PATH: engine.environment.PATH ?? "", TEMPERA_CAGE: writeJson(plan) },
      files: new LentFiles(folders.inputs),
      ...(closed && { warning: closedFile(closed) }),
      depth: run.depth,
      seal: async () => {
        if (user === undefined) return;
        await chown(folders.exchange, process.getuid?.() ?? 0, process.getgid?.() ?? 0);
        await chmod(folders.exchange, 0o711);
      },
      remove: () => rm(folders.exchange, { recursive: true, force: true }),
    };
  }

  #plan(
    { program, socket, environment, device, memoryMiB }: EngineToEnclose,
    own: IsolatedProgram,
    folders: CageFolders,
    user: number | undefined,
  ): CagePlan {
    const { namespaces, landlock, seccomp, limits } = this.layers;
    const [name, ...args] = own.command ?? program.command;
    const file = locateProgram(name, environment.PATH);
    const gpu = gpuPaths(device);
    const libraries = (environment.LD_LIBRARY_PATH ?? "").split(":").filter((path) => path.startsWith("/"));
    const isCountedApart = user !== undefined || (namespaces && process.getuid?.() !== 0);
    return {
      command: [file, ...args, socket],
      environment: { ...environment, ...own.environment, TMPDIR: folders.scratch, HOME: folders.scratch },
      readable: [
        ...new Set([
          ...systemPaths(),
          ...own.readable,
          ...withTargets([...gpu.readable, ...libraries, file]),
        ]),
      ],
      ...folders,
      scratchBytes: LIMITS.engineScratchBytesMax,
      devices: [...new Set([...gpu.devices, ...(own.devices ?? [])])],
      namespaces,
      landlock,
      seccomp,
      ...(user !== undefined && { user }),
      ...(limits && { limits: engineLimits(memoryMiB, device, isCountedApart) }),
    };
  }

  /**
   * Gives the user id of the next engine. An engine that needs a file which only the worker's user may read
   * runs as that user, or is refused where isolation is required.
   */
  #nextUserUnless(closed: string | undefined): number | undefined {
    if (!this.layers.user) return undefined;
    if (closed && this.#isolation === "required")
      throw new TemperaError("runner_scheduling_failure", closedFile(closed));
    if (closed) return undefined;
    this.#lastUser = (this.#lastUser + 1) % USERS.count;
    return USERS.first + this.#lastUser;
  }
}

type CageFolders = Pick<CagePlan, "exchange" | "inputs" | "root" | "scratch">;

/** Makes the folders of one engine, whose own user may make its socket in one of them. */
async function makeFolders(
  exchange: string,
  namespaces: boolean,
  user: number | undefined,
): Promise<CageFolders> {
  const folders = {
    exchange,
    inputs: join(exchange, "in"),
    root: join(exchange, "root"),
    scratch: namespaces ? "/tmp" : join(exchange, "scratch"),
  };
  await mkdir(exchange, { recursive: true, mode: 0o700 });
  const [inputs, scratch] = [[folders.inputs, folders.root], namespaces ? [] : [folders.scratch]];
  for (const folder of [...inputs, ...scratch]) await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const folder of inputs) await chmod(folder, 0o755);
  if (user !== undefined) for (const folder of [exchange, ...scratch]) await chown(folder, user, user);
  return folders;
}

function closedFile(path: string): string {
  return (
    `${path} is closed to other users, so the engine cannot have a user of its own; ` +
    "`chmod -R o+rX` its folder."
  );
}

/**
 * Opens the cage of a GPU worker, or of one of its engines; `undefined` when isolation is off. Rejects when
 * it is required and a layer is missing.
 *
 * @param setting names the setting that says so
 */
export async function openCage(
  isolation: Isolation,
  probe = probeLayers,
  setting = "engines.isolation",
): Promise<Cage | undefined> {
  if (isolation === "off") return undefined;
  const probed = await probe();
  if (isolation === "required" && probed.missing.length > 0) {
    const missing = probed.missing.map(({ layer, reason, remedy }) => `${layer} (${reason}): ${remedy}`);
    throw new Error(
      `${setting} is required, and this host lacks ${missing.join("; ")}. Or set it to best-effort.`,
    );
  }
  return new Cage(isolation, probed);
}
