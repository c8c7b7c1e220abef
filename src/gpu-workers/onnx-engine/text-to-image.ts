/**
 * The text-to-image runner: a latent flow-matching model with the components of a diffusers pipeline (tokenizer, text
 * encoder, transformer, VAE, scheduler), called with fal's text-to-image input.
 *
 * The model folder (the layout of diffusers, each network as `model.onnx`):
 *
 * | file | takes | gives |
 * |---|---|---|
 * | tokenizer/tokenizer.json | text | ids; names [PAD], [UNK], [EOS] so |
 * | text_encoder/model.onnx | input_ids, attention_mask int64 [B,L] | hidden_states [B,L,D] |
 * | transformer/model.onnx | latents [B,C,h,w], timestep [B] = 1000·σ, encoder_hidden_states, encoder_attention_mask | velocity, noise − data |
 * | vae_decoder/model.onnx | latents [B,C,h,w] of unit variance | image [B,3,H,W], -1..1 |
 * | scheduler/scheduler_config.json | | FlowMatchEulerDiscreteScheduler |
 */
import { randomInt } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { z } from "zod";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { JsonObject } from "../../core/json.ts";
import type { RunEmitter, RunnerLoad } from "../engine-server.ts";
import { denoise } from "./denoise.ts";
import { encodePicture } from "./encode-picture.ts";
import { flowMatchSigmas, parseSchedulerConfig } from "./flow-match-euler.ts";
import { guide } from "./guidance.ts";
import { openOnnxSession } from "./onnx-session.ts";
import { normalNoise } from "./philox.ts";
import { IMAGE_SIZE_PRESETS, nativeSizeFor, type PictureSize } from "./picture-size.ts";
import { createPromptTokenizer, type PromptTokens } from "./prompt-tokens.ts";

const side = z.int().min(16).max(16384);
const pictureSize = z.object({ width: side, height: side });

/** fal's `ImageSize`: a side that is left out is 512. JSON Schema applies no defaults inside `anyOf`, so it is done here. */
const askedSize = z.object({ width: side.default(512), height: side.default(512) });

/** `parameters:` of the manifest of a text-to-image model. */
const Parameters = z.object({
  /** CPU threads of each network. Fixed, so that the same seed gives the same bytes. */
  threads: z.int().min(1).max(64).default(2),
  /** Sizes the model was trained at, in pixels. */
  nativeSizes: z.tuple([pictureSize], pictureSize),
  latentChannels: z.int().positive(),
  /** Pixels per latent, each way. */
  pixelsPerLatent: z.int().positive(),
  /** Latents per transformer token, each way. */
  patch: z.int().positive(),
  /** Tokens of a prompt, special ones included; longer prompts are cut, shorter ones padded. */
  textTokensMax: z.int().min(2),
  guidanceRescale: z.enum(["none", "token"]).default("none"),
  /** What `use_turbo` stands for. */
  turbo: z.object({ steps: z.int().positive(), guidanceScale: z.number().min(0) }),
});

/** The fields of fal's input that this runner reads. The model's schema has checked them and filled in the defaults. */
const Input = z.object({
  prompt: z.string(),
  negative_prompt: z.string(),
  image_size: z.union([
    z.string().refine((name) => Object.hasOwn(IMAGE_SIZE_PRESETS, name), "Input should be a size that fal names"),
    askedSize,
  ]),
  num_inference_steps: z.int().min(1).max(1000),
  guidance_scale: z.number().min(0),
  num_images: z.int().min(1).max(16),
  /** Any integer, also one that a double holds only roughly: it is taken modulo 2⁶⁴. */
  seed: z.number().refine(Number.isInteger, "Input should be a valid integer").nullish(),
  use_turbo: z.boolean(),
  enable_safety_checker: z.boolean(),
  output_format: z.enum(["png", "jpeg"]),
});

export interface TextToImage {
  run(input: JsonObject, emit: RunEmitter, signal: AbortSignal): Promise<{ output: JsonObject; inferenceMs: number }>;
}

export async function loadTextToImage(
  { folder, parameters }: RunnerLoad,
  progress: (fraction: number, says: string) => void,
): Promise<TextToImage> {
  const checked = Parameters.safeParse(parameters);
  if (!checked.success) {
    throw new Error(
      `parameters of model.yaml: ${checked.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`).join("; ")}`,
    );
  }
  const { threads, nativeSizes, latentChannels, pixelsPerLatent, patch, textTokensMax, guidanceRescale, turbo } = checked.data;
  sharp.concurrency(threads);
  sharp.cache(false);
  const tokenize = createPromptTokenizer(await readFile(join(folder, "tokenizer", "tokenizer.json"), "utf8"), textTokensMax);
  const scheduler = parseSchedulerConfig(await readFile(join(folder, "scheduler", "scheduler_config.json"), "utf8"));
  const textEncoder = await openOnnxSession(join(folder, "text_encoder", "model.onnx"), threads);
  progress(0.2, "text encoder");
  const transformer = await openOnnxSession(join(folder, "transformer", "model.onnx"), threads);
  progress(0.7, "transformer");
  const decoder = await openOnnxSession(join(folder, "vae_decoder", "model.onnx"), threads);
  progress(1, "decoder");

  /** Text states and mask of several prompts, stacked: [B,L,D] and [B,L]. */
  const encodePrompts = async (prompts: PromptTokens[]) => {
    const shape = [prompts.length, textTokensMax];
    const [ids, mask] = [stack(prompts.map((p) => p.ids)), stack(prompts.map((p) => p.mask))];
    const states = await textEncoder.run({ input_ids: { data: ids, shape }, attention_mask: { data: mask, shape } });
    return { encoder_hidden_states: states, encoder_attention_mask: { data: mask, shape } };
  };

  return {
    async run(raw, emit, signal) {
      const startedMs = performance.now();
      const input = parseInput(raw);
      const size = typeof input.image_size === "string" ? (IMAGE_SIZE_PRESETS[input.image_size] as PictureSize) : input.image_size;
      const native = nativeSizeFor(size, nativeSizes);
      const steps = input.use_turbo ? turbo.steps : input.num_inference_steps;
      const guidanceScale = input.use_turbo ? turbo.guidanceScale : input.guidance_scale;
      const seed = input.seed ?? randomInt(2 ** 32);
      const prompt = tokenize(input.prompt);
      for (const { level, message } of remarks({ input, prompt, size, native, turbo, textTokensMax })) emit.log(level, message);

      const [rows, columns] = [native.height / pixelsPerLatent, native.width / pixelsPerLatent];
      const latentShape = { channels: latentChannels, height: rows, width: columns, patch };
      const latentCount = latentChannels * rows * columns;
      const sigmas = flowMatchSigmas(scheduler, steps, (rows / patch) * (columns / patch));
      // Guidance of 1 is the conditional prediction itself, so the second pass would be thrown away.
      const guided = guidanceScale > 1;
      const text = await encodePrompts(guided ? [prompt, tokenize(input.negative_prompt)] : [prompt]);
      const batch = guided ? 2 : 1;

      const predict = async (latents: Float32Array, sigma: number): Promise<Float32Array> => {
        const { data } = await transformer.run({
          latents: { data: guided ? stack([latents, latents]) : latents, shape: [batch, latentChannels, rows, columns] },
          timestep: { data: new Float32Array(batch).fill(sigma * 1000), shape: [batch] },
          ...text,
        });
        if (!guided) return data;
        return guide(data.subarray(0, latentCount), data.subarray(latentCount), guidanceScale, guidanceRescale, latentShape);
      };

      const images: JsonObject[] = [];
      const total = steps * input.num_images;
      let encodingMs = 0;
      let previewMs = 0;
      const denoisingMs = performance.now();
      for (let image = 0; image < input.num_images; image++) {
        const latents = normalNoise(BigInt(seed) + BigInt(image), latentCount);
        const onStep = async (done: number, velocity: Float32Array, sigma: number) => {
          const step = image * steps + done;
          const elapsedMs = performance.now() - denoisingMs - encodingMs;
          emit.progress(step, total, Math.round((elapsedMs / step) * (total - step)));
          // A twentieth of the time so far, so that at most one preview more than that is made.
          if (!emit.preview || done === steps || previewMs > elapsedMs / 20) return;
          const sinceMs = performance.now();
          // What the velocity says the data are: the latents without the noise that is left in them.
          const guess = latents.map((value, i) => value - sigma * (velocity[i] ?? 0));
          const { data: pixels } = await decoder.run({ latents: { data: guess, shape: [1, latentChannels, rows, columns] } });
          emit.preview(step, "image/jpeg", await encodePicture(pixels, native, previewSize(native), "jpeg"));
          previewMs += performance.now() - sinceMs;
        };
        await denoise({ latents, sigmas, predict, onStep, signal });
        const { data: pixels } = await decoder.run({ latents: { data: latents, shape: [1, latentChannels, rows, columns] } });
        const encodedMs = performance.now();
        const bytes = await encodePicture(pixels, native, size, input.output_format);
        signal.throwIfAborted();
        const contentType = `image/${input.output_format}`;
        const fileName = `${BigInt(seed) + BigInt(image)}.${input.output_format === "png" ? "png" : "jpg"}`;
        images.push({ ...(await emit.artifact({ contentType, fileName, ...size }, bytes)), ...size });
        encodingMs += performance.now() - encodedMs;
      }
      const inferenceMs = performance.now() - startedMs - encodingMs;
      const output: JsonObject = {
        images,
        timings: { inference: Math.round(inferenceMs) / 1000 },
        seed,
        has_nsfw_concepts: images.map(() => false),
        prompt: input.prompt,
      };
      return { output, inferenceMs };
    },
  };
}

const PREVIEW_SIDE_MAX = 256;

/** The same shape, its longer side at most 256 pixels. */
function previewSize({ width, height }: PictureSize): PictureSize {
  const scale = Math.min(1, PREVIEW_SIDE_MAX / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

function parseInput(raw: JsonObject): z.infer<typeof Input> {
  const parsed = Input.safeParse(raw);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message }) => ({
    loc: ["body", ...path.map((part) => (typeof part === "number" ? part : String(part)))],
    msg: message,
    type: "value_error",
  }));
  throw new TemperaError("input_invalid", undefined, { faults });
}

/** What the caller should know about how the request is served; nothing is changed silently. */
function remarks({
  input,
  prompt,
  size,
  native,
  turbo,
  textTokensMax,
}: {
  input: z.infer<typeof Input>;
  prompt: PromptTokens;
  size: PictureSize;
  native: PictureSize;
  turbo: { steps: number; guidanceScale: number };
  textTokensMax: number;
}): { level: "INFO" | "WARN"; message: string }[] {
  const said: { level: "INFO" | "WARN"; message: string }[] = [];
  if (size.width !== native.width || size.height !== native.height) {
    said.push({ level: "INFO", message: `Rendered at ${native.width}x${native.height}, scaled to ${size.width}x${size.height}.` });
  }
  if (input.use_turbo) said.push({ level: "INFO", message: `Turbo: ${turbo.steps} steps, guidance ${turbo.guidanceScale}.` });
  if (prompt.cut > 0) {
    said.push({
      level: "WARN",
      message: `The prompt is longer than the ${textTokensMax} tokens this model reads; the last ${prompt.cut} were left out.`,
    });
  }
  if (prompt.unknown.length > 0) {
    said.push({ level: "WARN", message: `This model does not know: ${prompt.unknown.map((word) => word.slice(0, 40)).join(", ")}.` });
  }
  if (input.enable_safety_checker) {
    said.push({ level: "INFO", message: "This model has no safety checker; has_nsfw_concepts is always false." });
  }
  return said;
}

function stack<T extends Float32Array | BigInt64Array>(parts: T[]): T {
  const [first] = parts;
  const length = first?.length ?? 0;
  const whole = first instanceof BigInt64Array ? new BigInt64Array(length * parts.length) : new Float32Array(length * parts.length);
  parts.forEach((part, i) => {
    (whole as Float32Array).set(part as Float32Array, i * length);
  });
  return whole as T;
}
