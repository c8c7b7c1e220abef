import { existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { executionProviders, explainProviderError } from "./execution-provider.ts";

const folderWith = (...libraries: string[]): string => {
  const folder = mkdtempSync(join(tmpdir(), "runtime-"));
  for (const library of libraries) writeFileSync(join(folder, `libonnxruntime_providers_${library}.so`), "");
  return folder;
};

describe("execution providers", () => {
  it("are listed for each device, with their fallbacks", () => {
    expect(executionProviders("cpu")).toEqual(["cpu"]);
    expect(executionProviders("cuda:1", folderWith("shared", "cuda"))).toEqual([
      { name: "cuda", deviceId: 1 },
      "cpu",
    ]);
    expect(executionProviders("tensorrt:0", folderWith("shared", "cuda", "tensorrt"))).toEqual([
      { name: "tensorrt", deviceId: 0 },
      { name: "cuda", deviceId: 0 },
      "cpu",
    ]);
  });

  it("are refused without their libraries, in one line that names the remedy", () => {
    const folder = folderWith("shared");
    expect(() => executionProviders("tensorrt:0", folder)).toThrow(
      new Error(
        "tensorrt:0 needs libonnxruntime_providers_cuda.so, libonnxruntime_providers_tensorrt.so in " +
          `${folder}; get them with \`ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node\`, ` +
          "or set TEMPERA_WORKER_DEVICE=cpu.",
      ),
    );
    expect(() => executionProviders("rocm:0")).toThrow('There is no device "rocm:0"');
  });

  it("are looked up in ONNX Runtime's own folder", () => {
    // An installation without the CUDA libraries gives an error; one that has them gives the providers.
    const outcome = (() => {
      try {
        return executionProviders("cuda:0");
      } catch (error) {
        return (error as Error).message;
      }
    })();
    if (typeof outcome !== "string") return expect(outcome).toHaveLength(2);
    const folder = / in (.*); get them/.exec(outcome)?.[1] ?? "";
    expect(existsSync(join(folder, "onnxruntime_binding.node"))).toBe(true);
  });

  it("explain in one line that their dependencies are missing; other errors pass through", () => {
    const failed = new Error("OrtSessionOptionsAppendExecutionProvider_Cuda: Failed to load shared library");
    expect(explainProviderError("cuda:0", failed)).toMatchObject({
      message:
        "cuda:0 cannot be used (OrtSessionOptionsAppendExecutionProvider_Cuda: Failed to load shared " +
        "library); it needs CUDA 12 and cuDNN 9 on LD_LIBRARY_PATH, and such a GPU. " +
        "Or set TEMPERA_WORKER_DEVICE=cpu.",
    });
    const other = new Error("Protobuf parsing failed.");
    expect(explainProviderError("cuda:0", other)).toBe(other);
    expect(explainProviderError("cpu", failed)).toBe(failed);
  });
});
