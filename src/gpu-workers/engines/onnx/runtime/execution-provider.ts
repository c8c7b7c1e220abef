/** Execution providers of ONNX Runtime for a device as the configuration names it. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/** Providers that may run a network's operators, preferred first; operators one cannot run go to the next. */
export type ExecutionProviders = ({ name: "tensorrt" | "cuda"; deviceId: number } | "cpu")[];

const SHARED = "libonnxruntime_providers_shared.so";
/** The libraries of a provider, in ONNX Runtime's own folder, and what they need from the machine. */
const PROVIDERS = {
  cuda: { libraries: [SHARED, "libonnxruntime_providers_cuda.so"], needs: "CUDA 12 and cuDNN 9" },
  tensorrt: {
    libraries: [SHARED, "libonnxruntime_providers_cuda.so", "libonnxruntime_providers_tensorrt.so"],
    needs: "CUDA 12, cuDNN 9 and TensorRT 10",
  },
} as const;

/**
 * Gives the providers of a device: `cpu`, `cuda:<n>`, `tensorrt:<n>` (which falls back to CUDA, operator by
 * operator).
 *
 * Throws a sentence with its remedy for a device that is none of these and for one whose libraries are not
 * installed.
 *
 * @param folder ONNX Runtime's libraries
 */
export function executionProviders(device: string, folder = runtimeFolder()): ExecutionProviders {
  if (device === "cpu") return ["cpu"];
  const [, name, index = ""] = /^(cuda|tensorrt):(\d{1,3})$/.exec(device) ?? [];
  if (name !== "cuda" && name !== "tensorrt") {
    throw new Error(
      `There is no device "${device}": TEMPERA_WORKER_DEVICE is cpu, cuda:<n> or tensorrt:<n>.`,
    );
  }
  const missing = PROVIDERS[name].libraries.filter((library) => !existsSync(join(folder, library)));
  if (missing.length > 0) {
    throw new Error(
      `${device} needs ${missing.join(", ")} in ${folder}; get them with ` +
        "`ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node`, or set TEMPERA_WORKER_DEVICE=cpu.",
    );
  }
  const deviceId = Number(index);
  return name === "tensorrt"
    ? [{ name, deviceId }, { name: "cuda", deviceId }, "cpu"]
    : [{ name, deviceId }, "cpu"];
}

/** Explains an error of a provider that is installed but cannot be used; returns any other error as it is. */
export function explainProviderError(device: string, error: unknown): unknown {
  const name = device.split(":")[0] as keyof typeof PROVIDERS;
  const message = error instanceof Error ? error.message : String(error);
  if (
    !Object.hasOwn(PROVIDERS, name) ||
    !/ExecutionProvider|Failed to load shared library|CUDA|cudnn|TensorRT/i.test(message)
  )
    return error;
  return new Error(
    `${device} cannot be used (${message.split("\n")[0]}); it needs ${PROVIDERS[name].needs} on ` +
      "LD_LIBRARY_PATH, and such a GPU. Or set TEMPERA_WORKER_DEVICE=cpu.",
    { cause: error },
  );
}

/** Finds `bin/napi-v6/linux/x64` of the installed onnxruntime-node. */
function runtimeFolder(): string {
  const main = createRequire(import.meta.url).resolve("onnxruntime-node");
  return join(dirname(dirname(main)), "bin", "napi-v6", process.platform, process.arch);
}
