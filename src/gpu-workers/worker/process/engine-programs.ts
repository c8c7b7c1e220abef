/** The engines that a GPU worker can start: maps `engine:` of a manifest to the program that serves it. */
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";

export interface EngineProgram {
  /** Program and arguments. The path of the socket is appended. */
  command: readonly [string, ...string[]];
  /** Variables of the GPU worker's environment that the engine needs beyond the basic ones. */
  environment?: readonly string[];
  /** The kinds of inference that the engine has; absent when that is not known before it runs. */
  runners?: readonly string[];
}

/** A TypeScript or JavaScript program, run by this Node as the platform is: through tsx, without a build. */
export function nodeProgram(file: URL | string, environment: readonly string[] = []): EngineProgram {
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
  return {
    command: [process.execPath, "--import", tsx, typeof file === "string" ? file : fileURLToPath(file)],
    environment,
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
  const launcher = fileURLToPath(new URL("./launch-engine.cjs", import.meta.url));
  return {
    command: [process.execPath, `--initial-heap-size=${HEAP_MIB}`, launcher, fileURLToPath(main)],
    environment,
  };
}

/**
 * An engine written in Python: a module of `engines/python`, or the path of a file. It runs on the Python
 * that the worker's variable TEMPERA_PYTHON names, else on `python3`. That Python must have the packages that
 * the engine needs (docs/real-checkpoints.md).
 */
export function pythonProgram(module: string, environment: readonly string[] = []): EngineProgram {
  const start = fileURLToPath(new URL("../../../../engines/python/start.sh", import.meta.url));
  return { command: [start, module], environment: ["TEMPERA_PYTHON", ...environment] };
}

export const ENGINE_PROGRAMS: Record<string, EngineProgram> = {
  onnx: {
    ...bundledProgram("onnx", ["CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"]),
    runners: ["text-to-image", "image-to-image", "video_to_audio", "wan_video"],
  },
  diffusers: {
    ...pythonProgram("tempera_diffusers", ["CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"]),
    runners: ["text-to-image", "wan_video"],
  },
  stub: { ...bundledProgram("stub"), runners: ["stub"] },
};

/** The runners of each engine, by the engine's name; `undefined` where they are not known. */
export const ENGINE_RUNNERS: Record<string, readonly string[] | undefined> = Object.fromEntries(
  Object.entries(ENGINE_PROGRAMS).map(([name, { runners }]) => [name, runners]),
);
