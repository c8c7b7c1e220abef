/** Qwen-Image: what its endpoints share, and by what each differs. */
import type { JsonSchema } from "../../core/models/model.ts";
import {
  choice,
  type Fields,
  fileUrl,
  fileUrls,
  flag,
  imageSize,
  integer,
  loras,
  negativePrompt,
  number,
  objectSchema,
  prompt,
  seed,
  without,
} from "./fields.ts";
import type { ShippedEndpoint, ShippedEndpoints } from "./shipped-endpoint.ts";

const SIZE = "The size of the generated image.";
const SIZE_OF_INPUT = `${SIZE} If not provided, that of the final input image.`;
const SAME_SEED =
  "The same seed and the same prompt given to the same version of the model will output the same image " +
  "every time.";
const SOURCE = fileUrl("Image Url", "The URL of the image to edit.");
const SOURCES = fileUrls("Image Urls", "The URLs of the images to edit.");
const USE_TURBO = flag(
  "Use Turbo",
  "Enable turbo mode for faster generation. When enabled, uses 10 inference steps and a guidance scale of " +
    "1.2.",
);
const LORAS = loras(
  "The LoRAs to use for the image generation. You can use up to 3 LoRAs and they will be merged together " +
    "to generate the final image.",
);

interface Differences {
  steps: number;
  guidance: number;
  /** A size's name, or null for that of the input image. */
  size: string | null;
  negative?: string;
  accelerations?: readonly string[];
  acceleration?: string;
  formats?: readonly string[];
}

/** The fields that almost all endpoints have. */
function imageFields({
  steps,
  guidance,
  size,
  negative = " ",
  accelerations = ["none", "regular", "high"],
  acceleration = "regular",
  formats = ["jpeg", "png"],
}: Differences): Fields {
  return {
    prompt: prompt("The prompt to generate the image with"),
    image_size: imageSize(size === null ? SIZE_OF_INPUT : SIZE, size),
    num_inference_steps: integer(
      "Num Inference Steps",
      "The number of inference steps to perform.",
      2,
      250,
      steps,
    ),
    seed: seed(SAME_SEED),
    guidance_scale: number(
      "Guidance scale (CFG)",
      "The CFG (Classifier Free Guidance) scale is a measure of how close you want the model to stick to " +
        "your prompt when looking for a related image to show you.",
      0,
      20,
      guidance,
    ),
    sync_mode: flag(
      "Sync Mode",
      "If `true`, the media will be returned as a data URI and the output data won't be available in the " +
        "request history.",
    ),
    num_images: integer("Num Images", "The number of images to generate.", 1, 4, 1),
    enable_safety_checker: flag(
      "Enable Safety Checker",
      "If set to true, the safety checker will be enabled.",
      true,
    ),
    output_format: choice("Output Format", "The format of the generated image.", formats, "png"),
    negative_prompt: negativePrompt("The negative prompt for the generation", negative),
    acceleration: choice(
      "Acceleration",
      "Acceleration level for image generation. Options: " +
        `${accelerations.map((level) => `'${level}'`).join(", ")}. Higher acceleration increases speed.`,
      accelerations,
      acceleration,
    ),
  };
}

const SEED_OUTPUT = {
  title: "Seed",
  description:
    "Seed of the generated Image. It will be the same value of the one passed in the input or the randomly " +
    "generated that was used in case none was passed.",
  type: "integer",
};
const images = (definition: string) => ({
  title: "Images",
  description: "The generated image files info.",
  type: "array",
  items: { $ref: `#/$defs/${definition}` },
});

const OUTPUT: Fields = {
  images: images("Image"),
  timings: {
    title: "Timings",
    description: "Seconds spent, by part; `inference` is the time on the engine.",
    type: "object",
    additionalProperties: { type: "number" },
  },
  seed: SEED_OUTPUT,
  has_nsfw_concepts: {
    title: "Has Nsfw Concepts",
    description: "Whether the generated images contain NSFW concepts.",
    type: "array",
    items: { type: "boolean" },
  },
  prompt: { title: "Prompt", description: "The prompt used for generating the image.", type: "string" },
};

interface Options {
  required?: readonly string[];
  output?: JsonSchema;
  servedBy?: ShippedEndpoint["servedBy"];
  unserved?: string;
}

const TEXT_TO_IMAGE = { servedBy: { engine: "diffusers", runner: "text-to-image" } };

function endpoint(
  name: string,
  title: string,
  category: string,
  fields: Fields,
  { required = ["prompt"], output, servedBy, unserved }: Options,
): ShippedEndpoint {
  return {
    title,
    description: `Serves fal's schema of ${title}.`,
    category,
    input: objectSchema(`${name}Input`, fields, required),
    output: output ?? objectSchema(`${name}Output`, OUTPUT, Object.keys(OUTPUT)),
    ...(servedBy && { servedBy }),
    ...(unserved && { unserved }),
  };
}

const pipeline = (name: string): string => `it needs diffusers' ${name}, which no engine here runs`;

const QWEN = imageFields({ steps: 30, guidance: 2.5, size: "landscape_4_3", acceleration: "none" });
const QWEN_2512 = (guidance: number): Fields =>
  imageFields({
    steps: 28,
    guidance,
    size: "landscape_4_3",
    negative: "",
    formats: ["jpeg", "png", "webp"],
  });

const TEXT: ShippedEndpoints = {
  "fal-ai/qwen-image": endpoint(
    "QwenImage",
    "Qwen-Image",
    "text-to-image",
    { ...QWEN, loras: LORAS, use_turbo: USE_TURBO },
    TEXT_TO_IMAGE,
  ),
  "fal-ai/qwen-image/image-to-image": endpoint(
    "QwenImageI2I",
    "Qwen-Image, image to image",
    "image-to-image",
    {
      ...QWEN,
      image_size: imageSize(
        `${SIZE} By default, we will use the provided image for determining the image_size.`,
        null,
      ),
      loras: LORAS,
      use_turbo: USE_TURBO,
      image_url: fileUrl("Image URL", "The reference image to guide the generation."),
      strength: number(
        "Strength",
        "Denoising strength. 1.0 = fully remake; 0.0 = preserve original.",
        0,
        1,
        0.6,
      ),
    },
    { required: ["prompt", "image_url"], servedBy: { engine: "onnx", runner: "image-to-image" } },
  ),
  "fal-ai/qwen-image-2512": endpoint(
    "QwenImage2512",
    "Qwen-Image 2512",
    "text-to-image",
    QWEN_2512(5),
    TEXT_TO_IMAGE,
  ),
  "fal-ai/qwen-image-2512/lora": endpoint(
    "QwenImage2512Lora",
    "Qwen-Image 2512 with LoRA",
    "text-to-image",
    { ...QWEN_2512(4), loras: LORAS },
    TEXT_TO_IMAGE,
  ),
};

const EDIT = imageFields({ steps: 30, guidance: 4, size: null });
const EDITED = { servedBy: { engine: "diffusers", runner: "image-to-image" } };
const OF_ONE = { required: ["prompt", "image_url"], ...EDITED };
const OF_SEVERAL = { required: ["prompt", "image_urls"], ...EDITED };
const edit = (name: string, title: string, fields: Fields, options: Options): ShippedEndpoint =>
  endpoint(name, title, "image-to-image", fields, options);

const EDIT_PLUS: Fields = {
  ...imageFields({ steps: 50, guidance: 4, size: "square_hd", accelerations: ["none", "regular"] }),
  image_urls: SOURCES,
};
const EDIT_PLUS_LORA: Fields = {
  ...imageFields({ steps: 28, guidance: 4, size: null, accelerations: ["none", "regular"] }),
  image_urls: SOURCES,
  loras: LORAS,
};
const EDIT_2511: Fields = {
  ...imageFields({
    steps: 28,
    guidance: 4.5,
    size: null,
    negative: "",
    formats: ["jpeg", "png", "webp"],
  }),
  image_urls: SOURCES,
};
const STRENGTH = "Strength of the image-to-image transformation. Lower values preserve more of the original.";

const EDITS: ShippedEndpoints = {
  "fal-ai/qwen-image-edit": edit("QwenImageEdit", "Qwen-Image Edit", { ...EDIT, image_url: SOURCE }, OF_ONE),
  "fal-ai/qwen-image-edit-lora": edit(
    "QwenImageEditLora",
    "Qwen-Image Edit with LoRA",
    {
      ...imageFields({ steps: 30, guidance: 4, size: null, acceleration: "none" }),
      image_url: SOURCE,
      loras: LORAS,
    },
    OF_ONE,
  ),
  "fal-ai/qwen-image-edit/image-to-image": edit(
    "QwenImageEditI2I",
    "Qwen-Image Edit, image to image",
    { ...EDIT, image_url: SOURCE, strength: number("Strength", STRENGTH, 0, 1, 0.94) },
    OF_ONE,
  ),
  "fal-ai/qwen-image-edit/inpaint": edit(
    "QwenImageEditInpaint",
    "Qwen-Image Edit, inpaint",
    {
      ...EDIT,
      image_url: SOURCE,
      mask_url: fileUrl("Mask Url", "The URL of the mask for inpainting"),
      strength: number("Strength", "Strength of noising process for inpainting", 0, 1, 0.93),
    },
    {
      required: ["prompt", "image_url", "mask_url"],
      ...EDITED,
    },
  ),
  "fal-ai/qwen-image-edit-plus": edit("QwenImageEditPlus", "Qwen-Image Edit Plus", EDIT_PLUS, OF_SEVERAL),
  "fal-ai/qwen-image-edit-plus-lora": edit(
    "QwenImageEditPlusLora",
    "Qwen-Image Edit Plus with LoRA",
    EDIT_PLUS_LORA,
    OF_SEVERAL,
  ),
  "fal-ai/qwen-image-edit-2509": edit("QwenImageEdit2509", "Qwen-Image Edit 2509", EDIT_PLUS, OF_SEVERAL),
  "fal-ai/qwen-image-edit-2509-lora": edit(
    "QwenImageEdit2509Lora",
    "Qwen-Image Edit 2509 with LoRA",
    EDIT_PLUS_LORA,
    OF_SEVERAL,
  ),
  "fal-ai/qwen-image-edit-2511": edit("QwenImageEdit2511", "Qwen-Image Edit 2511", EDIT_2511, OF_SEVERAL),
  "fal-ai/qwen-image-edit-2511/lora": edit(
    "QwenImageEdit2511Lora",
    "Qwen-Image Edit 2511 with LoRA",
    { ...EDIT_2511, loras: LORAS },
    OF_SEVERAL,
  ),
};

const LAYERED: Fields = {
  ...without(
    imageFields({ steps: 28, guidance: 5, size: null, negative: "", formats: ["png", "webp"] }),
    "image_size",
    "num_images",
  ),
  prompt: { ...prompt("A caption for the input image."), type: ["string", "null"] },
  image_url: fileUrl("Image Url", "The URL of the input image."),
  num_layers: {
    title: "Num Layers",
    description: "The number of layers to generate.",
    type: "integer",
    minimum: 1,
    default: 4,
  },
};
const OF_LAYERS = {
  required: ["image_url"],
  output: objectSchema(
    "QwenImageLayeredOutput",
    { ...OUTPUT, prompt: { ...OUTPUT.prompt, type: ["string", "null"] } },
    ["images", "timings", "seed", "has_nsfw_concepts"],
  ),
  unserved: pipeline("QwenImageLayeredPipeline"),
};
const LAYERS: ShippedEndpoints = {
  "fal-ai/qwen-image-layered": edit("QwenImageLayered", "Qwen-Image Layered", LAYERED, OF_LAYERS),
  "fal-ai/qwen-image-layered/lora": edit(
    "QwenImageLayeredLora",
    "Qwen-Image Layered with LoRA",
    { ...LAYERED, loras: LORAS },
    OF_LAYERS,
  ),
};

/** Of the models without published weights. */
const closed = (size: string | null): Fields => ({
  ...without(
    imageFields({
      steps: 30,
      guidance: 4,
      size,
      negative: "",
      formats: ["jpeg", "png", "webp"],
    }),
    "num_inference_steps",
    "guidance_scale",
    "acceleration",
  ),
  seed: seed("Random seed for reproducibility (0-2147483647).", { minimum: 0, maximum: 2_147_483_647 }),
  enable_prompt_expansion: flag("Enable Prompt Expansion", "Enable LLM prompt optimization.", true),
});
const CLOSED = {
  output: objectSchema("QwenImage2Output", { images: images("File"), seed: SEED_OUTPUT }, ["images", "seed"]),
  unserved: "its weights are not published",
};
const CLOSED_SOURCES = fileUrls("Image Urls", "Reference images for editing (1-3 images).");
const closedPair = (prefix: string, title: string): ShippedEndpoints => ({
  [`${prefix}/text-to-image`]: endpoint(
    "QwenImage2TextToImage",
    title,
    "text-to-image",
    closed("square_hd"),
    CLOSED,
  ),
  [`${prefix}/edit`]: edit(
    "QwenImage2Edit",
    `${title}, edit`,
    { ...closed(null), image_urls: { ...CLOSED_SOURCES, maxItems: 3 } },
    { ...CLOSED, required: ["prompt", "image_urls"] },
  ),
});

export const IMAGE_ENDPOINTS: ShippedEndpoints = {
  ...TEXT,
  ...EDITS,
  ...LAYERS,
  ...closedPair("fal-ai/qwen-image-2", "Qwen-Image 2"),
  ...closedPair("fal-ai/qwen-image-2/pro", "Qwen-Image 2 Pro"),
  ...closedPair("fal-ai/qwen-image-max", "Qwen-Image Max"),
};
