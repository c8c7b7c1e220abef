/** The engines there are: `engine:` of a manifest → the program that serves it. */
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";

export interface EngineProgram {
  /** Program and arguments; the socket path is appended. */
  command: readonly [string, ...string[]];
  /** Variables of the GPU worker's environment that it needs beyond the basic ones. */
  environment?: readonly string[];
}

/**
 * A TypeScript or JavaScript program, run by this Node the way the platform itself is run: through tsx,
 * without a build.
 */
export const nodeProgram = (file: URL | string, environment: readonly string[] = []): EngineProgram => {
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
  return {
    command: [process.execPath, "--import", tsx, typeof file === "string" ? file : fileURLToPath(file)],
    environment,
  };
};

/**
 * V8's heap to begin with, MiB. An engine keeps a dozen and throws away pictures outside of the heap, for
 * which V8 would mark all of it twice a second, on four threads that take the cores from the networks.
 */
const HEAP_MIB = 64;

/**
 * A built-in engine, bundled into one file at its first start: its process comes up in a fraction of the
 * time.
 */
const bundledProgram = (main: URL, environment: readonly string[] = []): EngineProgram => ({
  command: [
    process.execPath,
    `--initial-heap-size=${HEAP_MIB}`,
    fileURLToPath(new URL("./launch-engine.cjs", import.meta.url)),
    fileURLToPath(main),
  ],
  environment,
});

/**
 * An engine written in Python: a module of `engines/python`, or the path of a file. It runs on the Python
 * that the worker's variable TEMPERA_PYTHON names, which has the packages it needs
 * (docs/real-checkpoints.md), else on `python3`.
 */
export const pythonProgram = (module: string, environment: readonly string[] = []): EngineProgram => ({
  command: [fileURLToPath(new URL("../../../../engines/python/start.sh", import.meta.url)), module],
  environment: ["TEMPERA_PYTHON", ...environment],
});

export const ENGINE_PROGRAMS: Record<string, EngineProgram> = {
  onnx: bundledProgram(new URL("../../engines/onnx/main.ts", import.meta.url), [
    "CUDA_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
  ]),
  diffusers: pythonProgram("tempera_diffusers", ["CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"]),
  stub: bundledProgram(new URL("../../engines/stub/main.ts", import.meta.url)),
};
