import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import {
  ENGINE_PROGRAMS,
  type EngineProgram,
} from "../../../src/gpu-workers/worker/process/engine-programs.ts";
import { describeEngine } from "./engine-suite.ts";

const models = join(import.meta.dirname, "../../../models");
const loadOf = (name: string) => {
  const folder = join(models, name);
  const { endpoint, version, runner, parameters } = parse(readFileSync(join(folder, "model.yaml"), "utf8"));
  return { endpoint, version, runner, folder, parametersJson: JSON.stringify(parameters), slots: 4 };
};

const imageInput = {
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

describeEngine("onnx, images", {
  program: ENGINE_PROGRAMS.onnx as EngineProgram,
  load: loadOf("fal-ai/qwen-image/1.0.0"),
  inputs: {
    quick: imageInput,
    previewed: { num_inference_steps: 40, num_images: 1 },
    checkpointed: { num_inference_steps: 5 },
    slow: { ...imageInput, num_inference_steps: 1000, num_images: 4 },
    bad: { ...imageInput, image_size: "enormous", num_images: 0 },
  },
});

const videoInput = {
  prompt: "a large red circle moves to the right on a blue background",
  negative_prompt: "",
  num_frames: 17,
  frames_per_second: 16,
  seed: 7,
  resolution: "480p",
  aspect_ratio: "1:1",
  num_inference_steps: 3,
  guidance_scale: 3.5,
  guidance_scale_2: 4,
  shift: 5,
  acceleration: "regular",
  interpolator_model: "none",
  num_interpolated_frames: 1,
  adjust_fps_for_interpolation: true,
  enable_safety_checker: false,
  enable_output_safety_checker: false,
  video_quality: "high",
  video_write_mode: "fast",
};

describeEngine("onnx, videos", {
  program: ENGINE_PROGRAMS.onnx as EngineProgram,
  load: loadOf("fal-ai/wan/v2.2-a14b/text-to-video/1.0.0"),
  inputs: {
    quick: videoInput,
    previewed: { num_inference_steps: 60 },
    checkpointed: { num_inference_steps: 5 },
    slow: { ...videoInput, num_inference_steps: 1000 },
    bad: { ...videoInput, num_frames: 1_000_000, frames_per_second: 0 },
  },
});
