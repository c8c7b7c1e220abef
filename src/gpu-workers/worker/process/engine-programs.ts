/**
 * The engines that a GPU worker can start: maps `engine:` of a manifest to the program that serves it, a
 * built-in one (`ENGINE_PROGRAMS`) or one of the configuration.
 */
import { execFile, spawn } from "node:child_process";
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import type {
  BUILT_IN_ENGINES,
  ConfiguredEngine,
  ConfiguredEngines,
} from "../../../core/engines/configured-engine.ts";
import { parseJson } from "../../../core/json/exact-json.ts";

export interface EngineProgram {
  /** Program and arguments. The path of the socket is appended. */
  command: readonly [string, ...string[]];
  /** Variables of the GPU worker's environment that the engine needs beyond the basic ones. */
  environment?: readonly string[];
  /**
   * Finds what the program needs when it is isolated, and makes what it would make at its start: it may not
   * write then. Absent: nothing but the system's libraries.
   */
  isolated?: (environment: Record<string, string>) => Promise<IsolatedProgram>;
  /** The kinds of inference that the engine has; absent when that is not known before it runs. */
  runners?: readonly string[];
}

export interface IsolatedProgram {
  /** Program and arguments, where they differ. */
  command?: readonly [string, ...string[]];
  /** Files and folders that it reads and executes, besides those of the system and of its model. */
  readable: readonly string[];
  /** Device files that it opens, besides those of the worker's GPU. */
  devices?: readonly string[];
  /** Variables that it needs in addition. */
  environment?: Record<string, string>;
}

const { bundleFolder, codeFile } = createRequire(import.meta.url)("./engine-bundle.cjs") as {
  /** Names the folder of an engine's bundle. */
  bundleFolder: (main: string) => string;
  /** Names the file of its compiled code. */
  codeFile: (folder: string) => string;
};

const PROJECT = fileURLToPath(new URL("../../../..", import.meta.url));

/**
 * The parts of this project that a TypeScript engine reads: not its data, its configuration or its models.
 */
const SOURCES = ["src", "dist", "node_modules", "package.json", "package-lock.json", "tsconfig.json"].map(
  (name) => join(PROJECT, name),
);

/** A TypeScript or JavaScript program, run by this Node as the platform is: through tsx, without a build. */
export function nodeProgram(file: URL | string, environment: readonly string[] = []): EngineProgram {
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
  const path = typeof file === "string" ? file : fileURLToPath(file);
  return {
    command: [process.execPath, "--import", tsx, path],
    environment,
    isolated: async () => ({ readable: [...SOURCES, dirname(path)] }),
  };
}

/**
 * Initial size of V8's heap, in MiB. An engine keeps about 12 MiB in it. Because it also frees images outside
 * of the heap, V8 would mark a smaller heap twice a second, on four threads that take the cores from the
 * networks.
 */
const HEAP_MIB = 64;

/**
 * A built-in engine. It runs from a bundle in one file, which starts much faster: made at its first start, or
 * by `npm run build` for processes that run from `dist/`.
 */
function bundledProgram(name: string, environment: readonly string[] = []): EngineProgram {
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  const main = new URL(`../../engines/${name}/main.${extension}`, import.meta.url);
  const file = fileURLToPath(main);
  const launcher = fileURLToPath(new URL("./launch-engine.cjs", import.meta.url));
  /** Bundles for which this process has looked. */
  const tried = new Set<string>();
  const command = [process.execPath, `--initial-heap-size=${HEAP_MIB}`, launcher, file] as const;
  return {
    command,
    environment,
    isolated: async (env) => {
      const folder = bundleFolder(file);
      const fromBundle = [...command, "--from", folder] as const;
      // The first start builds the bundle and keeps its compiled code, where that can be written.
      if (!tried.has(folder) && !existsSync(codeFile(folder))) await startOnce(fromBundle, env);
      tried.add(folder);
      return { command: fromBundle, readable: SOURCES };
    },
  };
}

/** Starts a program with its standard input at its end: it exits by itself, as without a GPU worker. */
async function startOnce(
  [program, ...args]: readonly [string, ...string[]],
  env: Record<string, string>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "tempera-start-"));
  await new Promise<void>((done) => {
    const child = spawn(program, [...args, join(folder, "s")], { env, stdio: "ignore" });
    // A program that fails here fails when it is isolated too, where its output is read.
    child.on("error", () => done()).on("exit", () => done());
  });
  await rm(folder, { recursive: true, force: true });
}

/**
 * An engine written in Python: a module of `engines/python`, or the path of a file. It runs on the Python
 * that the worker's variable TEMPERA_PYTHON names, else on `python3`. That Python must have the packages that
 * the engine needs (docs/real-checkpoints.md).
 */
export function pythonProgram(module: string, environment: readonly string[] = []): EngineProgram {
  const start = fileURLToPath(new URL("../../../../engines/python/start.sh", import.meta.url));
  return {
    command: [start, module],
    environment: ["TEMPERA_PYTHON", ...environment],
    isolated: () => isolatedPython(dirname(start), module),
  };
}

/** Prints the interpreter and the folders that it imports from. */
const PYTHON_PATHS =
  "import json, sys; " +
  "print(json.dumps([sys.executable, sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path]))";

/**
 * Asks the worker's Python for its folders. One that does not start is left to `start.sh`, which names the
 * remedy.
 */
async function isolatedPython(engines: string, module: string): Promise<IsolatedProgram> {
  const contract = fileURLToPath(new URL("../../contract", import.meta.url));
  const own = [engines, contract, ...(module.endsWith(".py") ? [dirname(resolve(module))] : [])];
  try {
    const { executable, readable } = await pythonPaths(process.env.TEMPERA_PYTHON || "python3");
    return { readable: [...own, ...readable], environment: { TEMPERA_PYTHON: executable } };
  } catch {
    return { readable: own };
  }
}

/** Asks an interpreter for its own path, and for that and the folders that it reads. */
async function pythonPaths(python: string): Promise<{ executable: string; readable: string[] }> {
  const { stdout } = await promisify(execFile)(python, ["-c", PYTHON_PATHS], {
    env: { PATH: process.env.PATH },
  });
  const [executable = python, ...folders] = parseJson(stdout) as string[];
  return { executable, readable: [executable, ...folders.filter((folder) => isAbsolute(folder))] };
}

export const ENGINE_PROGRAMS: Record<(typeof BUILT_IN_ENGINES)[number], EngineProgram> = {
  onnx: {
    ...bundledProgram("onnx", ["CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"]),
    runners: ["text-to-image", "image-to-image", "video_to_audio", "wan_video"],
  },
  diffusers: {
    ...pythonProgram("tempera_diffusers", ["CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"]),
    runners: ["text-to-image", "image-to-image", "wan_video"],
  },
  stub: { ...bundledProgram("stub"), runners: ["stub"] },
};

/** Variables that say which GPUs an engine has, and where its libraries are. */
const GPU_VARIABLES = ["CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"];

/**
 * Makes the program of an engine of the configuration. When it is isolated, it may read what the
 * configuration lists, the folders that its variables name and, of a Python, the folders of its packages.
 */
function configuredProgram(engine: ConfiguredEngine): EngineProgram {
  const { command, args, environment, readable, devices, runners } = engine;
  const isPython = /^python[\d.]*$/.test(basename(command));
  const program: EngineProgram = {
    command: [command, ...args],
    environment: GPU_VARIABLES,
    isolated: async () => {
      // A Python that does not start fails when it is isolated too, where its output is read.
      const packages = isPython ? await pythonPaths(command).catch(() => undefined) : undefined;
      return { readable: [...readable, ...(packages?.readable ?? [])], devices };
    },
    ...(runners && { runners }),
  };
  return withVariables(program, environment);
}

/** The built-in engines and those of the configuration, by the name that a manifest gives. */
export function allPrograms(configured: ConfiguredEngines = {}): Record<string, EngineProgram> {
  const own = Object.entries(configured).map(([name, engine]) => [name, configuredProgram(engine)] as const);
  return { ...Object.fromEntries(own), ...ENGINE_PROGRAMS };
}

/**
 * Finds a reason why the program of an engine cannot be started on this machine, with the remedy; `undefined`
 * when there is none.
 */
export function programFault(
  name: string,
  { command }: Pick<ConfiguredEngine, "command">,
): string | undefined {
  const setting = `engines.programs.${name}.command: ${command}`;
  if (!statSync(command, { throwIfNoEntry: false })?.isFile())
    return `${setting} is no file on this machine; install the engine, or correct the path`;
  try {
    accessSync(command, constants.X_OK);
    return undefined;
  } catch {
    return `${setting} is not executable; \`chmod +x\` it, or name its interpreter as the command`;
  }
}

/** Hands all engines further variables of the GPU worker's environment; see `withVariables`. */
export function withEnvironment(
  programs: Record<string, EngineProgram>,
  names: readonly string[],
): Record<string, EngineProgram> {
  const extended = Object.entries(programs).map(([name, program]) => [name, withVariables(program, names)]);
  return Object.fromEntries(extended);
}

/**
 * Hands an engine further variables of the GPU worker's environment. An isolated engine may read the folders
 * and files that one of them names by absolute paths, with colons between them.
 */
function withVariables(program: EngineProgram, names: readonly string[]): EngineProgram {
  if (names.length === 0) return program;
  return {
    ...program,
    environment: [...(program.environment ?? []), ...names],
    isolated: async (environment) => {
      const own = (await program.isolated?.(environment)) ?? { readable: [] };
      const values = names.flatMap((variable) => environment[variable]?.split(":") ?? []);
      // The root would open everything.
      const paths = values.filter((value) => isAbsolute(value) && resolve(value) !== "/");
      return { ...own, readable: [...own.readable, ...paths] };
    },
  };
}

/** The runners of each engine, by the engine's name; `undefined` where they are not known. */
export function engineRunners(configured?: ConfiguredEngines): Record<string, readonly string[] | undefined> {
  const programs = Object.entries(allPrograms(configured));
  return Object.fromEntries(programs.map(([name, { runners }]) => [name, runners]));
}
