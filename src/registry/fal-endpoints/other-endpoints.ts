/** MMAudio's audio, and the trainers of both families. */
import type { JsonObject } from "../../core/json/json.ts";
import {
  type Fields,
  file,
  fileUrl,
  flag,
  integer,
  negativePrompt,
  number,
  objectSchema,
  prompt,
  seed,
} from "./fields.ts";
import type { ShippedEndpoint, ShippedEndpoints } from "./shipped-endpoint.ts";

const AUDIO: Fields = {
  prompt: prompt("The prompt to generate the audio for."),
  negative_prompt: negativePrompt("The negative prompt to generate the audio for."),
  seed: seed("The seed for the random number generator", { minimum: 0, maximum: 65_535 }),
  num_steps: integer("Num Steps", "The number of steps to generate the audio for.", 4, 50, 25),
  duration: number("Duration", "The duration of the audio to generate.", 1, 30, 8),
  cfg_strength: number("Cfg Strength", "The strength of Classifier Free Guidance.", 0, 20, 4.5),
  mask_away_clip: flag("Mask Away Clip", "Whether to mask away the clip."),
};

const AUDIO_ENDPOINTS: ShippedEndpoints = {
  "fal-ai/mmaudio-v2": {
    title: "MMAudio v2",
    description: "Serves fal's schema of MMAudio v2.",
    category: "video-to-audio",
    input: objectSchema(
      "MMAudioV2Input",
      { video_url: fileUrl("Video Url", "The URL of the video to generate the audio for."), ...AUDIO },
      ["video_url", "prompt"],
    ),
    output: objectSchema("MMAudioV2Output", { video: file("Video", "The generated video with the sound.") }, [
      "video",
    ]),
    servedBy: { engine: "onnx", runner: "video_to_audio" },
  },
  "fal-ai/mmaudio-v2/text-to-audio": {
    title: "MMAudio v2, text to audio",
    description: "Serves fal's schema of MMAudio v2, text to audio.",
    category: "text-to-audio",
    input: objectSchema("MMAudioV2TextToAudioInput", AUDIO, ["prompt"]),
    output: objectSchema("MMAudioV2TextToAudioOutput", { audio: file("Audio", "The generated audio.") }, [
      "audio",
    ]),
    unserved: "it has no video, and the runner video_to_audio adds audio to one",
  },
};

const CONFIG_FILE = file("Config File", "The configuration of the training.");
const rate = (fallback: number): JsonObject => ({
  title: "Learning Rate",
  description: "The learning rate.",
  type: "number",
  exclusiveMinimum: 0,
  default: fallback,
});
const steps = (fallback: number): JsonObject => ({
  title: "Steps",
  description: "The number of steps to train for.",
  type: "integer",
  minimum: 1,
  default: fallback,
});
const text = (title: string, description: string, rest: JsonObject): JsonObject => ({
  title,
  description,
  type: "string",
  maxLength: 8000,
  ...rest,
});

function trainer(
  name: string,
  title: string,
  fields: Fields,
  required: string[],
  output: Fields,
): ShippedEndpoint {
  return {
    title,
    description: `Serves fal's schema of ${title}.`,
    category: "training",
    input: objectSchema(`${name}Input`, fields, required),
    output: objectSchema(`${name}Output`, output, Object.keys(output)),
    unserved: "it trains LoRA weights, and no engine here trains",
  };
}

const ARCHIVE = "URL of a ZIP archive of the training data, with a text file of each caption.";
const qwenTrainer = (name: string, title: string): ShippedEndpoint =>
  trainer(
    name,
    title,
    {
      image_data_url: fileUrl("Image Data Url", ARCHIVE),
      default_caption: {
        title: "Default Caption",
        description: "The caption where the archive has none.",
        type: ["string", "null"],
        maxLength: 8000,
      },
      learning_rate: rate(0.0005),
      steps: steps(1000),
    },
    ["image_data_url"],
    {
      diffusers_lora_file: file("Diffusers Lora File", "The trained LoRA weights."),
      config_file: CONFIG_FILE,
    },
  );
const wanTrainer = (name: string, title: string): ShippedEndpoint =>
  trainer(
    name,
    title,
    {
      training_data_url: fileUrl("Training Data Url", ARCHIVE),
      trigger_phrase: text("Trigger Phrase", "The phrase that triggers the model.", { default: "" }),
      number_of_steps: { ...steps(400), title: "Number of Steps" },
      learning_rate: rate(0.0002),
      auto_scale_input: flag("Auto Scale Input", "If true, videos are scaled to 81 frames at 16 fps."),
    },
    ["training_data_url"],
    { lora_file: file("Lora File", "The trained LoRA weights."), config_file: CONFIG_FILE },
  );

const TRAINERS: ShippedEndpoints = {
  "fal-ai/qwen-image-2512-trainer": qwenTrainer("QwenImage2512Trainer", "Qwen-Image 2512 Trainer"),
  "fal-ai/qwen-image-edit-2509-trainer": qwenTrainer(
    "QwenImageEdit2509Trainer",
    "Qwen-Image Edit 2509 Trainer",
  ),
  "fal-ai/wan-22-trainer/t2v-a14b": wanTrainer("WanTrainerT2V", "Wan 2.2 Trainer, text to video"),
  "fal-ai/wan-22-trainer/i2v-a14b": wanTrainer("WanTrainerI2V", "Wan 2.2 Trainer, image to video"),
  "fal-ai/wan-22-image-trainer": trainer(
    "WanImageTrainer",
    "Wan 2.2 Image Trainer",
    {
      training_data_url: fileUrl("Training Data Url", ARCHIVE),
      trigger_phrase: text("Trigger Phrase", "The phrase that triggers the model.", {}),
      steps: steps(1000),
      learning_rate: rate(0.0007),
      is_style: flag("Is Style", "Whether the training data is of a style."),
      include_synthetic_captions: flag(
        "Include Synthetic Captions",
        "Whether to include synthetic captions.",
      ),
      use_face_detection: flag("Use Face Detection", "Whether to centre images on faces.", true),
      use_face_cropping: flag("Use Face Cropping", "Whether to crop images to faces."),
      use_masks: flag("Use Masks", "Whether to use masks for the training data.", true),
    },
    ["training_data_url", "trigger_phrase"],
    {
      diffusers_lora_file: file("Diffusers Lora File", "LoRA weights of the low-noise expert."),
      high_noise_lora: file("High Noise Lora", "LoRA weights of the high-noise expert."),
      config_file: CONFIG_FILE,
    },
  ),
};

export const OTHER_ENDPOINTS: ShippedEndpoints = { ...AUDIO_ENDPOINTS, ...TRAINERS };
