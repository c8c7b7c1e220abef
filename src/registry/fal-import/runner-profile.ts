/**
 * The fields of fal's inputs that the runners of this project act on, and how far. An import restricts
 * everything else. A test looks each of them up in the runner's own source.
 */
import type { JsonObject } from "../../core/json/json.ts";
import type { ModelTimeouts } from "../../core/models/model.ts";

export interface RunnerProfile {
  engine: string;
  runner: string;
  /** The fields that change the result, each with the JSON Schema of what the runner takes. */
  reads: Record<string, JsonObject>;
  /** The fields without effect, whose use a line of the request's log notes. */
  notes: Record<string, JsonObject>;
  /** Fields without which the runner makes nothing: a public schema that lacks one cannot be served. */
  needs: readonly string[];
  /** Values of the manifest with which an operator begins. */
  manifest: { slots: number; memoryMiB: number; timeouts: Partial<ModelTimeouts> };
}

const ANY: JsonObject = {};
const oneOf = (...values: string[]): JsonObject => ({ enum: values });
const between = (minimum: number, maximum: number): JsonObject => ({ minimum, maximum });

const SIZES = ["square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"];
const IMAGE_SIZE: JsonObject = {
  anyOf: [
    oneOf(...SIZES),
    { type: "object", properties: { width: between(16, 16_384), height: between(16, 16_384) } },
  ],
};
const NULLABLE_SIZE: JsonObject = { anyOf: [...(IMAGE_SIZE.anyOf as JsonObject[]), { type: "null" }] };
const LORAS: JsonObject = { maxItems: 3 };
const QUALITIES = oneOf("low", "medium", "high", "maximum");
const WRITE_MODES = oneOf("fast", "balanced", "small");
const RESOLUTIONS = oneOf("480p", "580p", "720p");
const SHAPES = ["16:9", "9:16", "1:1"];
const CHECKERS = { enable_safety_checker: ANY, enable_output_safety_checker: ANY };

const DIFFUSERS_IMAGE: RunnerProfile = {
  engine: "diffusers",
  runner: "text-to-image",
  reads: {
    prompt: ANY,
    negative_prompt: ANY,
    image_size: IMAGE_SIZE,
    num_inference_steps: between(2, 1000),
    guidance_scale: between(0, 100),
    num_images: between(1, 4),
    seed: ANY,
    output_format: oneOf("png", "jpeg", "webp"),
    use_turbo: ANY,
    loras: LORAS,
    enable_safety_checker: ANY,
  },
  notes: { acceleration: oneOf("none", "regular", "high") },
  needs: ["prompt"],
  manifest: {
    slots: 1,
    memoryMiB: 65_000,
    timeouts: { heartbeatMs: 30_000, runMs: 1_800_000, loadMs: 900_000 },
  },
};

/** Images that begin with one: Qwen-Image's own networks, and those of Qwen-Image-Edit. */
const DIFFUSERS_EDIT: RunnerProfile = {
  ...DIFFUSERS_IMAGE,
  runner: "image-to-image",
  reads: {
    ...DIFFUSERS_IMAGE.reads,
    image_size: NULLABLE_SIZE,
    image_url: ANY,
    mask_url: ANY,
    strength: between(0, 1),
  },
  needs: ["prompt", "image_url"],
};

/** Qwen-Image-Edit of several images. */
const DIFFUSERS_EDIT_PLUS: RunnerProfile = {
  ...DIFFUSERS_IMAGE,
  runner: "image-to-image",
  reads: { ...DIFFUSERS_IMAGE.reads, image_size: NULLABLE_SIZE, image_urls: { maxItems: 10 } },
  needs: ["prompt", "image_urls"],
};

const DIFFUSERS_VIDEO: RunnerProfile = {
  engine: "diffusers",
  runner: "wan_video",
  reads: {
    prompt: ANY,
    negative_prompt: ANY,
    num_frames: between(17, 161),
    frames_per_second: between(4, 60),
    resolution: RESOLUTIONS,
    aspect_ratio: oneOf(...SHAPES),
    num_inference_steps: between(2, 40),
    guidance_scale: between(1, 10),
    guidance_scale_2: between(1, 10),
    shift: between(1, 10),
    seed: ANY,
    video_quality: QUALITIES,
    video_write_mode: WRITE_MODES,
    reverse_video: ANY,
    loras: LORAS,
    ...CHECKERS,
  },
  notes: {
    acceleration: oneOf("none", "regular"),
    interpolator_model: oneOf("none", "film", "rife"),
    num_interpolated_frames: between(0, 4),
    adjust_fps_for_interpolation: ANY,
    enable_prompt_expansion: ANY,
  },
  needs: ["prompt"],
  manifest: {
    slots: 1,
    memoryMiB: 78_000,
    timeouts: { heartbeatMs: 30_000, runMs: 7_200_000, loadMs: 1_800_000, silenceMs: 1_200_000 },
  },
};

/** The same runner where the public schema has an input image. */
const DIFFUSERS_VIDEO_OF_IMAGE: RunnerProfile = {
  ...DIFFUSERS_VIDEO,
  reads: {
    ...DIFFUSERS_VIDEO.reads,
    image_url: ANY,
    end_image_url: ANY,
    aspect_ratio: oneOf("auto", ...SHAPES),
  },
};

const ONNX_MANIFEST: RunnerProfile["manifest"] = {
  slots: 4,
  memoryMiB: 700,
  timeouts: { heartbeatMs: 10_000, runMs: 1_800_000, loadMs: 60_000 },
};

const ONNX_IMAGE: RunnerProfile = {
  engine: "onnx",
  runner: "text-to-image",
  reads: {
    prompt: ANY,
    negative_prompt: ANY,
    image_size: NULLABLE_SIZE,
    num_inference_steps: between(1, 1000),
    guidance_scale: { minimum: 0 },
    num_images: between(1, 16),
    seed: ANY,
    use_turbo: ANY,
    output_format: oneOf("png", "jpeg"),
    enable_safety_checker: ANY,
  },
  notes: {},
  needs: [
    "prompt",
    "negative_prompt",
    "num_inference_steps",
    "guidance_scale",
    "num_images",
    "use_turbo",
    "enable_safety_checker",
    "output_format",
  ],
  manifest: ONNX_MANIFEST,
};

const ONNX_VIDEO: RunnerProfile = {
  engine: "onnx",
  runner: "wan_video",
  reads: {
    prompt: ANY,
    negative_prompt: ANY,
    image_url: ANY,
    num_frames: between(1, 1000),
    frames_per_second: between(1, 240),
    resolution: RESOLUTIONS,
    aspect_ratio: oneOf("auto", ...SHAPES),
    num_inference_steps: between(1, 1000),
    guidance_scale: { minimum: 0 },
    guidance_scale_2: { minimum: 0 },
    shift: { exclusiveMinimum: 0 },
    seed: ANY,
    interpolator_model: oneOf("none", "film", "rife"),
    num_interpolated_frames: between(0, 16),
    adjust_fps_for_interpolation: ANY,
    video_quality: QUALITIES,
    video_write_mode: WRITE_MODES,
    ...CHECKERS,
  },
  notes: { acceleration: oneOf("none", "regular") },
  needs: [
    "prompt",
    "negative_prompt",
    "num_frames",
    "frames_per_second",
    "resolution",
    "aspect_ratio",
    "num_inference_steps",
    "guidance_scale",
    "guidance_scale_2",
    "shift",
    "acceleration",
    "interpolator_model",
    "num_interpolated_frames",
    "adjust_fps_for_interpolation",
    "enable_safety_checker",
    "enable_output_safety_checker",
    "video_quality",
    "video_write_mode",
  ],
  manifest: ONNX_MANIFEST,
};

const AUDIO_FIELDS: Record<string, JsonObject> = {
  video_url: ANY,
  prompt: ANY,
  negative_prompt: ANY,
  num_steps: between(1, 1000),
  duration: { exclusiveMinimum: 0, maximum: 600 },
  cfg_strength: { minimum: 0 },
  mask_away_clip: ANY,
};

export const PROFILES: readonly RunnerProfile[] = [
  DIFFUSERS_IMAGE,
  DIFFUSERS_EDIT,
  DIFFUSERS_EDIT_PLUS,
  DIFFUSERS_VIDEO_OF_IMAGE,
  DIFFUSERS_VIDEO,
  ONNX_IMAGE,
  {
    ...ONNX_IMAGE,
    runner: "image-to-image",
    reads: { ...ONNX_IMAGE.reads, image_url: ANY, strength: between(0, 1) },
    needs: [...ONNX_IMAGE.needs, "image_url"],
  },
  ONNX_VIDEO,
  {
    engine: "onnx",
    runner: "video_to_audio",
    reads: { ...AUDIO_FIELDS, seed: ANY },
    notes: {},
    needs: Object.keys(AUDIO_FIELDS),
    manifest: ONNX_MANIFEST,
  },
];

/**
 * Finds what is known of a runner; `undefined` for a runner that is not of this project.
 *
 * @param fields the fields of the public schema
 */
export function profileOf(
  engine: string,
  runner: string,
  fields: readonly string[],
): RunnerProfile | undefined {
  const found = PROFILES.filter((profile) => profile.engine === engine && profile.runner === runner);
  const sources = ["image_url", "image_urls"];
  const fits = ({ reads }: RunnerProfile) => sources.every((name) => name in reads === fields.includes(name));
  return found.find(fits) ?? found[0];
}
