import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";
import {
  ENGINE_PROGRAMS,
  type EngineProgram,
} from "../../../src/gpu-workers/worker/process/engine-programs.ts";
import { describeEngine } from "../../../tests/conformance/engine/engine-suite.ts";

/** A folder of QwenImagePipeline with random weights in networks a millionth of the real size. */
const work = mkdtempSync(join(tmpdir(), "tiny-qwen-image-"));
const folder = join(work, "model");
execFileSync(process.env.TEMPERA_PYTHON || "python3", [
  fileURLToPath(new URL("../tests/tiny_pipelines.py", import.meta.url)),
  "text-to-image",
  folder,
]);
afterAll(() => rmSync(work, { recursive: true, force: true }));

const input = {
  prompt: "a large red circle on a blue background",
  negative_prompt: " ",
  image_size: { width: 64, height: 64 },
  num_inference_steps: 4,
  guidance_scale: 2.5,
  num_images: 2,
  seed: 7,
  output_format: "png",
};

describeEngine("diffusers", {
  program: ENGINE_PROGRAMS.diffusers as EngineProgram,
  load: {
    endpoint: "acme/tiny",
    version: "1.0.0",
    runner: "text-to-image",
    folder,
    parametersJson: JSON.stringify({ device: "cpu", threads: 1 }),
    slots: 1,
  },
  inputs: {
    quick: input,
    previewed: { num_inference_steps: 12 },
    checkpointed: { num_inference_steps: 5 },
    slow: { ...input, num_inference_steps: 1000, image_size: { width: 256, height: 256 } },
    bad: { ...input, image_size: "enormous", num_images: 0 },
  },
});
