import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { ENGINE_PROGRAMS, type EngineProgram } from "../../../src/gpu-workers/engine-programs.ts";
import { describeEngine } from "./engine-suite.ts";

const folder = join(import.meta.dirname, "../../../models/fal-ai/qwen-image/1.0.0");
const { endpoint, version, runner, parameters } = parse(readFileSync(join(folder, "model.yaml"), "utf8"));

const input = {
  prompt: "a large red circle on a blue background",
  negative_prompt: " ",
  image_size: "square",
  num_inference_steps: 4,
  guidance_scale: 2.5,
  num_images: 2,
  seed: 7,
  use_turbo: false,
  enable_safety_checker: true,
  output_format: "png",
};

describeEngine("onnx", {
  program: ENGINE_PROGRAMS.onnx as EngineProgram,
  load: { endpoint, version, runner, folder, parametersJson: JSON.stringify(parameters), slots: 4 },
  inputs: {
    quick: input,
    previewed: { num_inference_steps: 40, num_images: 1 },
    checkpointed: { num_inference_steps: 5 },
    slow: { ...input, num_inference_steps: 1000, num_images: 4 },
    bad: { ...input, image_size: "enormous", num_images: 0 },
  },
});
