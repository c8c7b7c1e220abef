/** Wan 2.2: what its endpoints share, and by what each differs. */
import type { JsonObject } from "../../core/json/json.ts";
import {
  choice,
  type Fields,
  file,
  fileUrl,
  flag,
  imageSize,
  integer,
  loras,
  negativePrompt,
  number,
  objectSchema,
  prompt,
  seed,
  withDefaults,
  without,
} from "./fields.ts";
import type { ShippedEndpoint, ShippedEndpoints } from "./shipped-endpoint.ts";

const RATE =
  "If true, the number of frames per second will be multiplied by the number of interpolated frames plus " +
  "one. For example, if the generated frames per second is 16 and the number of interpolated frames is 1, " +
  "the final frames per second will be 32. If false, the passed frames per second will be used as-is.";

/** All that text to video has with the model of 14 billion parameters. */
const TEXT_TO_VIDEO: Fields = {
  prompt: prompt("The text prompt to guide video generation."),
  negative_prompt: negativePrompt("Negative prompt for video generation."),
  num_frames: integer(
    "Number of Frames",
    "Number of frames to generate. Must be between 17 to 161 (inclusive).",
    17,
    161,
    81,
  ),
  frames_per_second: integer(
    "Frames per Second",
    "Frames per second of the generated video. Must be between 4 to 60. When using interpolation and " +
      "`adjust_fps_for_interpolation` is set to true (default true,) the final FPS will be multiplied by " +
      "the number of interpolated frames plus one. For example, if the generated frames per second is 16 " +
      "and the number of interpolated frames is 1, the final frames per second will be 32. If " +
      "`adjust_fps_for_interpolation` is set to false, this value will be used as-is.",
    4,
    60,
    16,
  ),
  seed: seed("Random seed for reproducibility. If None, a random seed is chosen."),
  resolution: choice(
    "Resolution",
    "Resolution of the generated video (480p, 580p, or 720p).",
    ["480p", "580p", "720p"],
    "720p",
  ),
  aspect_ratio: choice(
    "Aspect Ratio",
    "Aspect ratio of the generated video (16:9 or 9:16).",
    ["16:9", "9:16", "1:1"],
    "16:9",
  ),
  num_inference_steps: integer(
    "Number of Inference Steps",
    "Number of inference steps for sampling. Higher values give better quality but take longer.",
    2,
    40,
    27,
  ),
  enable_safety_checker: flag(
    "Enable Safety Checker",
    "If set to true, input data will be checked for safety before processing.",
  ),
  enable_output_safety_checker: flag(
    "Enable Output Safety Checker",
    "If set to true, output video will be checked for safety after generation.",
  ),
  enable_prompt_expansion: flag(
    "Enable Prompt Expansion",
    "Whether to enable prompt expansion. This will use a large language model to expand the prompt with " +
      "additional details while maintaining the original meaning.",
  ),
  acceleration: choice(
    "Acceleration",
    "Acceleration level to use. The more acceleration, the faster the generation, but with lower quality. " +
      "The recommended value is 'regular'.",
    ["none", "regular"],
    "regular",
  ),
  guidance_scale: number(
    "Guidance Scale (1st Stage)",
    "Classifier-free guidance scale. Higher values give better adherence to the prompt but may decrease " +
      "quality.",
    1,
    10,
    3.5,
  ),
  guidance_scale_2: number(
    "Guidance Scale (2nd Stage)",
    "Guidance scale for the second stage of the model. This is used to control the adherence to the prompt " +
      "in the second stage of the model.",
    1,
    10,
    4,
  ),
  shift: number("Shift", "Shift value for the video. Must be between 1.0 and 10.0.", 1, 10, 5),
  interpolator_model: choice(
    "Interpolator Model",
    "The model to use for frame interpolation. If None, no interpolation is applied.",
    ["none", "film", "rife"],
    "film",
  ),
  num_interpolated_frames: integer(
    "Number of Interpolated Frames",
    "Number of frames to interpolate between each pair of generated frames. Must be between 0 and 4.",
    0,
    4,
    1,
  ),
  adjust_fps_for_interpolation: flag("Adjust FPS for Interpolation", RATE, true),
  video_quality: choice(
    "Video Quality",
    "The quality of the output video. Higher quality means better visual quality but larger file size.",
    ["low", "medium", "high", "maximum"],
    "high",
  ),
  video_write_mode: choice(
    "Video Write Mode",
    "The write mode of the output video. Faster write mode means faster results but larger file size, " +
      "balanced write mode is a good compromise between speed and quality, and small write mode is the " +
      "slowest but produces the smallest file size.",
    ["fast", "balanced", "small"],
    "balanced",
  ),
};

const INPUT_IMAGE: Fields = {
  image_url: fileUrl(
    "Image Url",
    "URL of the input image. If the input image does not match the chosen aspect ratio, it is resized and " +
      "center cropped.",
  ),
};
const END_IMAGE: Fields = {
  end_image_url: {
    title: "End Image URL",
    description: "URL of the end image.",
    type: ["string", "null"],
  },
};
const shapeOf = (source: string): JsonObject =>
  choice(
    "Aspect Ratio",
    `Aspect ratio of the generated video. If 'auto', the aspect ratio will be determined automatically ` +
      `based on the input ${source}.`,
    ["auto", "16:9", "9:16", "1:1"],
    "auto",
  );

const IMAGE_TO_VIDEO: Fields = {
  ...INPUT_IMAGE,
  ...withDefaults(TEXT_TO_VIDEO, { guidance_scale_2: 3.5 }),
  aspect_ratio: shapeOf("image"),
  ...END_IMAGE,
};

const LORA: Fields = {
  loras: loras("LoRA weights to be used in the inference.", "ExpertLoraWeight"),
  reverse_video: flag("Reverse Video", "If true, the video will be reversed."),
};

/** Fields that are fixed where the weights are distilled. */
const FIXED_BY_TURBO = [
  "negative_prompt",
  "num_frames",
  "frames_per_second",
  "num_inference_steps",
  "guidance_scale",
  "guidance_scale_2",
  "shift",
  "interpolator_model",
  "num_interpolated_frames",
  "adjust_fps_for_interpolation",
];

const OF_5B: Fields = {
  ...withDefaults(without(TEXT_TO_VIDEO, "guidance_scale_2", "acceleration"), {
    num_inference_steps: 40,
    frames_per_second: 24,
    num_interpolated_frames: 0,
  }),
  resolution: choice(
    "Resolution",
    "Resolution of the generated video (580p or 720p).",
    ["580p", "720p"],
    "720p",
  ),
};

/** Of an endpoint whose result is one frame. */
const TEXT_TO_IMAGE: Fields = {
  ...withDefaults(
    without(
      TEXT_TO_VIDEO,
      "num_frames",
      "frames_per_second",
      "resolution",
      "aspect_ratio",
      "interpolator_model",
      "num_interpolated_frames",
      "adjust_fps_for_interpolation",
      "video_quality",
      "video_write_mode",
    ),
    { shift: 2 },
  ),
  image_size: imageSize("The size of the generated image.", "square_hd"),
};
const IMAGE_FORMAT: Fields = {
  image_format: choice("Image Format", "The format of the output image.", ["png", "jpeg"], "jpeg"),
};

const VIDEO = file("Video", "The generated video file.");
const PROMPT_OUTPUT = {
  title: "Prompt",
  description: "The text prompt used for video generation.",
  type: "string",
  default: "",
};
const SEED_OUTPUT = { title: "Seed", description: "The seed used for generation.", type: "integer" };
const VIDEO_OUTPUT: Fields = { video: VIDEO, prompt: PROMPT_OUTPUT, seed: SEED_OUTPUT };
const IMAGE_OUTPUT: Fields = { image: file("Image", "The generated image file."), seed: SEED_OUTPUT };

interface Parts {
  name: string;
  title: string;
  category: string;
  fields: Fields;
  required?: readonly string[];
  output?: Fields;
  outputRequired?: readonly string[];
  servedBy?: ShippedEndpoint["servedBy"];
  unserved?: string;
}

function endpoint({
  name,
  title,
  category,
  fields,
  required = ["prompt"],
  output = VIDEO_OUTPUT,
  outputRequired = ["video", "seed"],
  servedBy,
  unserved,
}: Parts): ShippedEndpoint {
  return {
    title: `Wan 2.2 ${title}`,
    description: `Serves fal's schema of Wan 2.2 ${title}.`,
    category,
    input: objectSchema(`${name}Input`, fields, required),
    output: objectSchema(`${name}Output`, output, outputRequired),
    ...(servedBy && { servedBy }),
    ...(unserved && { unserved }),
  };
}

const TEXT = { category: "text-to-video" };
const IMAGE = { category: "image-to-video", required: ["image_url", "prompt"] };
const IMAGE_RESULT = {
  output: IMAGE_OUTPUT,
  outputRequired: ["image", "seed"],
  unserved: "its result is an image, and the runner wan_video makes videos",
};
const TURBO = {
  unserved: "it needs distilled weights; import it with `--engine` and `--runner`, and write their recipe",
};
const VIDEO_PIPELINE = "it takes a video, which the runner wan_video does not";

/** A card that holds the model of 14 billion parameters needs its two experts in turn. */
const A14B = {
  servedBy: { engine: "diffusers", runner: "wan_video", parameters: { offload: "model" } },
};
/** Sides of the model of 5 billion parameters are multiples of 32. */
const B5 = {
  servedBy: {
    engine: "diffusers",
    runner: "wan_video",
    memoryMiB: 30_000,
    parameters: { resolutions: { "580p": [1024, 576], "720p": [1280, 704] } },
  },
};

const OF_A14B: ShippedEndpoints = {
  "text-to-video": endpoint({
    name: "WanT2V",
    title: "A14B, text to video",
    fields: TEXT_TO_VIDEO,
    ...TEXT,
    ...A14B,
  }),
  "image-to-video": endpoint({
    name: "WanI2V",
    title: "A14B, image to video",
    fields: IMAGE_TO_VIDEO,
    ...IMAGE,
    ...A14B,
  }),
  "text-to-video/lora": endpoint({
    name: "WanT2VLora",
    title: "A14B, text to video with LoRA",
    fields: { ...TEXT_TO_VIDEO, ...LORA },
    ...TEXT,
    ...A14B,
  }),
  "image-to-video/lora": endpoint({
    name: "WanI2VLora",
    title: "A14B, image to video with LoRA",
    fields: { ...withDefaults(IMAGE_TO_VIDEO, { guidance_scale_2: 4 }), ...LORA },
    ...IMAGE,
    ...A14B,
  }),
  "text-to-video/turbo": endpoint({
    name: "WanT2VTurbo",
    title: "A14B Turbo, text to video",
    fields: without(TEXT_TO_VIDEO, ...FIXED_BY_TURBO),
    ...TEXT,
    ...TURBO,
  }),
  "image-to-video/turbo": endpoint({
    name: "WanI2VTurbo",
    title: "A14B Turbo, image to video",
    fields: without(IMAGE_TO_VIDEO, ...FIXED_BY_TURBO),
    ...IMAGE,
    ...TURBO,
  }),
  "video-to-video": endpoint({
    name: "WanV2V",
    title: "A14B, video to video",
    category: "video-to-video",
    required: ["video_url", "prompt"],
    fields: {
      video_url: fileUrl("Video Url", "URL of the input video."),
      ...TEXT_TO_VIDEO,
      aspect_ratio: shapeOf("video"),
      strength: number(
        "Strength",
        "Strength of the video transformation. A value of 1.0 means the output will be completely based on " +
          "the prompt, while a value of 0.0 means the output will be identical to the input video.",
        0,
        1,
        0.9,
      ),
      resample_fps: flag(
        "Resample FPS",
        "If true, the video will be resampled to the passed frames per second. If false, it will not be.",
      ),
    },
    unserved: VIDEO_PIPELINE,
  }),
  "text-to-image": endpoint({
    name: "WanT2I",
    title: "A14B, text to image",
    category: "text-to-image",
    fields: TEXT_TO_IMAGE,
    ...IMAGE_RESULT,
  }),
  "text-to-image/lora": endpoint({
    name: "WanT2ILora",
    title: "A14B, text to image with LoRA",
    category: "text-to-image",
    fields: { ...TEXT_TO_IMAGE, ...IMAGE_FORMAT, ...LORA },
    ...IMAGE_RESULT,
  }),
  "image-to-image": endpoint({
    name: "WanI2I",
    title: "A14B, image to image",
    category: "image-to-image",
    required: ["image_url", "prompt"],
    fields: {
      ...INPUT_IMAGE,
      ...TEXT_TO_IMAGE,
      image_size: imageSize("The size of the generated image.", null),
      aspect_ratio: shapeOf("image"),
      ...IMAGE_FORMAT,
      strength: number(
        "Strength",
        "Denoising strength. 1.0 = fully remake; 0.0 = preserve original.",
        0,
        1,
        0.5,
      ),
    },
    ...IMAGE_RESULT,
    output: { image: IMAGE_OUTPUT.image as JsonObject, prompt: PROMPT_OUTPUT, seed: SEED_OUTPUT },
  }),
};

const OF_B5: ShippedEndpoints = {
  "text-to-video": endpoint({
    name: "Wan5BT2V",
    title: "5B, text to video",
    fields: OF_5B,
    ...TEXT,
    ...B5,
  }),
  "image-to-video": endpoint({
    name: "Wan5BI2V",
    title: "5B, image to video",
    fields: { ...INPUT_IMAGE, ...OF_5B, aspect_ratio: shapeOf("image") },
    ...IMAGE,
    ...B5,
  }),
  "text-to-video/distill": endpoint({
    name: "Wan5BDistill",
    title: "5B Distill, text to video",
    fields: withDefaults(without(OF_5B, "negative_prompt"), { guidance_scale: 1 }),
    ...TEXT,
    ...B5,
  }),
  "text-to-video/fast-wan": endpoint({
    name: "Wan5BFastWan",
    title: "5B FastWan, text to video",
    fields: {
      ...without(OF_5B, "num_inference_steps", "shift"),
      resolution: TEXT_TO_VIDEO.resolution as JsonObject,
    },
    ...TEXT,
    ...TURBO,
  }),
  "text-to-image": endpoint({
    name: "Wan5BT2I",
    title: "5B, text to image",
    category: "text-to-image",
    fields: {
      ...withDefaults(without(TEXT_TO_IMAGE, "guidance_scale_2", "acceleration"), {
        num_inference_steps: 40,
      }),
      ...IMAGE_FORMAT,
    },
    ...IMAGE_RESULT,
  }),
};

/** Fields of text to video that the 14B endpoints lack. */
const NOT_OF_14B = [
  "aspect_ratio",
  "enable_prompt_expansion",
  "acceleration",
  "guidance_scale_2",
  "interpolator_model",
  "num_interpolated_frames",
  "adjust_fps_for_interpolation",
];

const animate = (title: string): ShippedEndpoint =>
  endpoint({
    name: "WanAnimate",
    title: `14B Animate, ${title}`,
    category: "video-to-video",
    required: ["video_url", "image_url"],
    fields: {
      video_url: fileUrl("Video Url", "URL of the input video."),
      image_url: INPUT_IMAGE.image_url as JsonObject,
      ...withDefaults(
        without(TEXT_TO_VIDEO, "prompt", "negative_prompt", "num_frames", "frames_per_second", ...NOT_OF_14B),
        { resolution: "480p", guidance_scale: 1, num_inference_steps: 20 },
      ),
      use_turbo: flag("Use Turbo", "If true, the parameters are those of a faster generation."),
      return_frames_zip: flag("Return Frames Zip", "If true, also return a ZIP archive of the frames."),
    },
    output: {
      video: VIDEO,
      prompt: { title: "Prompt", description: "The prompt used for generation.", type: "string" },
      seed: SEED_OUTPUT,
      frames_zip: {
        title: "Frames Zip",
        description: "ZIP archive of generated frames (if requested).",
        anyOf: [{ $ref: "#/$defs/File" }, { type: "null" }],
      },
    },
    outputRequired: ["video", "prompt", "seed"],
    unserved: "it needs diffusers' WanAnimatePipeline, which no engine here runs",
  });

const OF_14B: ShippedEndpoints = {
  "animate/move": animate("move"),
  "animate/replace": animate("replace"),
  "speech-to-video": endpoint({
    name: "WanS2V",
    title: "14B, speech to video",
    category: "audio-to-video",
    required: ["prompt", "image_url", "audio_url"],
    fields: {
      ...withDefaults(without(TEXT_TO_VIDEO, ...NOT_OF_14B), { resolution: "480p" }),
      num_frames: {
        ...integer(
          "Number of Frames",
          "Number of frames to generate. Must be between 40 to 120, (must be multiple of 4).",
          40,
          120,
          80,
        ),
        multipleOf: 4,
      },
      image_url: INPUT_IMAGE.image_url as JsonObject,
      audio_url: fileUrl("Audio Url", "The URL of the audio file."),
    },
    output: { video: VIDEO },
    outputRequired: ["video"],
    unserved: "it takes speech, which the runner wan_video does not",
  }),
};

const prefixed = (prefix: string, endpoints: ShippedEndpoints): ShippedEndpoints =>
  Object.fromEntries(Object.entries(endpoints).map(([path, each]) => [`${prefix}/${path}`, each]));

export const VIDEO_ENDPOINTS: ShippedEndpoints = {
  ...prefixed("fal-ai/wan/v2.2-a14b", OF_A14B),
  ...prefixed("fal-ai/wan/v2.2-5b", OF_B5),
  ...prefixed("fal-ai/wan/v2.2-14b", OF_14B),
};
