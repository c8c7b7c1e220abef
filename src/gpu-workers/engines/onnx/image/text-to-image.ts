/**
 * The runners `text-to-image` and `image-to-image`: a latent flow-matching model with the components of a
 * diffusers pipeline (tokenizer, text encoder, transformer, VAE, scheduler), called with fal's input for
 * either.
 *
 * The model folder (the layout of diffusers, each network as `model.onnx`):
 *
 * | file | takes | gives |
 * |---|---|---|
 * | tokenizer/tokenizer.json | text | ids; names [PAD], [UNK], [EOS] so |
 * | text_encoder/model.onnx | input_ids, attention_mask int64 [B,L] | hidden_states [B,L,D] |
 * | transformer/model.onnx | latents [B,C,h,w], timestep [B] = 1000·σ, encoder_hidden_states, encoder_attention_mask | velocity, noise − data |
 * | vae_decoder/model.onnx | latents [B,C,h,w] of unit variance | image [B,3,H,W], -1..1 |
 * | vae_encoder/model.onnx | image | latents; for `image-to-image` only |
 * | scheduler/scheduler_config.json | | FlowMatchEulerDiscreteScheduler |
 */
import { randomInt } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { attachedFile } from "../../../../core/files/input-file.ts";
import type { JsonObject } from "../../../../core/json/json.ts";
import type { RunState } from "../../../contract/checkpoint.ts";
import type { RunEmitter, RunnerLoad, RunnerRun } from "../../../engine-sdk/engine-server.ts";
import { profileBatches, worthwhileItems } from "../sampling/batch-profile.ts";
import { encodePicture, loadPictureEncoder, toRgb } from "./encode-image.ts";
import { mustBeFinite } from "../sampling/finite.ts";
import { addNoise, flowMatchSigmas, parseSchedulerConfig } from "../sampling/flow-match-euler.ts";
import type { LatentShape } from "../sampling/guidance.ts";
import { type GuidedItem, guidedVelocities, isGuided } from "../sampling/guided-pass.ts";
import { inputFault } from "../runtime/input-error.ts";
import { parseInput, parseParameters } from "../runtime/parse-model.ts";
import { createRowPass, type NetworkRow } from "../runtime/network-rows.ts";
import { type OnnxSession, openOnnxSession } from "../runtime/onnx-session.ts";
import { normalNoise } from "../sampling/philox.ts";
import { IMAGE_SIZE_PRESETS, nativeSizeFor, type PictureSize } from "./image-size.ts";
import { openPromptStates } from "../runtime/prompt-embeddings.ts";
import type { PromptRemark } from "../runtime/prompt-tokens.ts";
import { type GivenPicture, readPicture } from "./read-image.ts";
import { createStepBatcher, type StepItem } from "../sampling/step-batcher.ts";

const side = z.int().min(16).max(16384);
const pictureSize = z.object({ width: side, height: side });

/** fal's default, `landscape_4_3`, for who leaves it to the model. */
const DEFAULT_SIZE: PictureSize = { width: 1024, height: 768 };
/** Sides of a result whose size follows a given picture, in pixels. */
const [GIVEN_SIDE_MIN, GIVEN_SIDE_MAX] = [64, 2048];

/**
 * fal's `ImageSize`: a side that is left out is 512. JSON Schema applies no defaults inside `anyOf`, so it is
 * done here.
 */
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
  /**
   * Pictures that share a step, at most. Fewer when a profile finds that more are not worth it on this
   * device.
   */
  batchMax: z.int().min(1).max(64).default(8),
  /** What `use_turbo` stands for. */
  turbo: z.object({ steps: z.int().positive(), guidanceScale: z.number().min(0) }),
});

/**
 * The fields of fal's input that this runner reads. The model's schema has checked them and filled in the
 * defaults.
 */
const Input = z.object({
  prompt: z.string(),
  negative_prompt: z.string(),
  image_size: z
    .union([
      z
        .string()
        .refine((name) => Object.hasOwn(IMAGE_SIZE_PRESETS, name), "Input should be a size that fal names"),
      askedSize,
      z.null(),
    ])
    .optional(),
  image_url: z.string().optional(),
  /** Share of the noise levels that are walked: 1 forgets the given picture, 0 keeps it. */
  strength: z.number().min(0).max(1).default(1),
  num_inference_steps: z.int().min(1).max(1000),
  guidance_scale: z.number().min(0),
  num_images: z.int().min(1).max(16),
  /** Any integer, also one that a double holds only roughly: it is taken modulo 2⁶⁴. */
  seed: z.number().refine(Number.isInteger, "Input should be a valid integer").nullish(),
  use_turbo: z.boolean(),
  enable_safety_checker: z.boolean(),
  output_format: z.enum(["png", "jpeg"]),
});

/** How long a loaded engine waits for its first request before it measures what it can do. */
const PROFILE_DELAY_MS = 1000;

/**
 * Progress is told this often at most, the first and the last step always: who watches sees no more, and a
 * small model that takes hundreds of steps a second does not spend a tenth of each on a word about it.
 */
const PROGRESS_MS = 100;

/** What a picture is to show. */
interface PictureCondition {
  shape: LatentShape;
  /** The prompt's row, and with guidance the negative prompt's. */
  text: NetworkRow[];
  guidanceScale: number;
}

export interface TextToImage {
  run(
    run: RunnerRun,
    emit: RunEmitter,
    signal: AbortSignal,
  ): Promise<{ output: JsonObject; inferenceMs: number }>;
}

type LoadProgress = (fraction: number, says: string) => void;

export const loadTextToImage = (load: RunnerLoad, progress: LoadProgress): Promise<TextToImage> =>
  loadPictureModel(load, progress, false);

/** The same, beginning with the picture at `image_url`, noised as much as `strength` says. */
export const loadImageToImage = (load: RunnerLoad, progress: LoadProgress): Promise<TextToImage> =>
  loadPictureModel(load, progress, true);

async function loadPictureModel(
  { folder, parameters }: RunnerLoad,
  progress: LoadProgress,
  fromPicture: boolean,
): Promise<TextToImage> {
  const {
    threads,
    nativeSizes,
    latentChannels,
    pixelsPerLatent,
    patch,
    textTokensMax,
    guidanceRescale,
    batchMax,
    turbo,
  } = parseParameters(Parameters, parameters);
  const prompts = await openPromptStates(folder, { threads, tokensMax: textTokensMax });
  const scheduler = parseSchedulerConfig(
    await readFile(join(folder, "scheduler", "scheduler_config.json"), "utf8"),
  );
  progress(0.2, "text encoder");
  const transformer = createRowPass(
    await openOnnxSession(join(folder, "transformer", "model.onnx"), threads),
    threads,
  );
  progress(0.7, "transformer");
  const decoder = await openOnnxSession(join(folder, "vae_decoder", "model.onnx"), threads);
  const encoder = fromPicture
    ? await openOnnxSession(join(folder, "vae_encoder", "model.onnx"), threads)
    : undefined;
  progress(1, "decoder");

  const predict = (items: readonly StepItem<PictureCondition>[]): Promise<Float32Array[]> =>
    guidedVelocities(transformer, items.map(guidedItem), guidanceRescale);
  const batcher = createStepBatcher({ predict, itemsMax: batchMax });

  /** The picture that latents stand for, as `toRgb` gives it. A guess may be a bad one. */
  const decode = (
    { channels, height, width }: LatentShape,
    latents: Float32Array,
    kind: "guess" | "result",
  ): Promise<Buffer> =>
    batcher.between(async () => {
      const { data } = await decoder.run({ latents: { data: latents, shape: [1, channels, height, width] } });
      if (kind === "result") mustBeFinite(data);
      return toRgb(data);
    });

  /** The latents of a given picture. */
  const encode = async (
    { width, height }: PictureSize,
    picture: Float32Array,
    network: OnnxSession,
  ): Promise<Float32Array> =>
    (await batcher.between(() => network.run({ image: { data: picture, shape: [1, 3, height, width] } })))
      .data;

  const shapeOf = ({ width, height }: PictureSize): LatentShape => ({
    channels: latentChannels,
    height: height / pixelsPerLatent,
    width: width / pixelsPerLatent,
    patch,
  });

  let begun = () => {};
  const firstRun = new Promise<void>((resolve) => {
    begun = resolve;
  });
  // Until it is known better, the manifest's word stands. The profile waits for idle moments, so it keeps no
  // request waiting; the engine may have been started for one that is about to come.
  void (async () => {
    await Promise.race([firstRun, sleep(PROFILE_DELAY_MS, undefined, { ref: false })]);
    await batcher.whenIdle(() => loadPictureEncoder(threads));
    const shape = shapeOf(nativeSizes[0]);
    const text = await batcher.between(() => prompts.encode([prompts.tokenize(""), prompts.tokenize("")]));
    const condition = { shape, text, guidanceScale: 2 };
    const latents = new Float32Array(countOf(shape));
    const profile = await profileBatches(batchMax, (items) =>
      batcher.whenIdle(async () => {
        const sinceMs = performance.now();
        await predict(Array.from({ length: items }, () => ({ latents, sigma: 1, condition })));
        return performance.now() - sinceMs;
      }),
    );
    batcher.itemsMax = worthwhileItems(profile);
    const times = profile.map(({ items, passMs }) => `${items}: ${passMs.toFixed(1)} ms`).join(", ");
    console.log(`Up to ${batcher.itemsMax} pictures share a step (${times}).`);
  })().catch((error) => console.log(`Steps could not be profiled: ${String(error)}`));

  return {
    async run({ input: raw, files, resume }, emit, signal) {
      const startedMs = performance.now();
      begun();
      const input = parseInput(Input, raw);
      const given = fromPicture ? await givenPicture(input.image_url, files) : undefined;
      const size = askedFor(input.image_size) ?? (given ? boundedSize(given.size) : DEFAULT_SIZE);
      const native = nativeSizeFor(size, nativeSizes);
      const levels = input.use_turbo ? turbo.steps : input.num_inference_steps;
      const guidanceScale = input.use_turbo ? turbo.guidanceScale : input.guidance_scale;
      const prompt = prompts.tokenize(input.prompt);
      const asked = isGuided(guidanceScale) ? [prompt, prompts.tokenize(input.negative_prompt)] : [prompt];
      for (const { level, message } of remarks({
        input,
        ofPrompt: prompts.remarks(prompt),
        size,
        native,
        turbo,
      }))
        emit.log(level, message);

      const shape = shapeOf(native);
      const allSigmas = flowMatchSigmas(scheduler, levels, (shape.height / patch) * (shape.width / patch));
      // As QwenImageImg2ImgPipeline cuts them: the first levels, whose noise would leave nothing of the
      // picture, are passed over.
      const sigmas = given
        ? allSigmas.subarray(Math.floor(levels - levels * input.strength + 1e-9))
        : allSigmas;
      const steps = sigmas.length - 1;
      const kept = resume && keptPictures(resume, input.num_images, countOf(shape), steps);
      if (resume && !kept)
        emit.log(
          "WARN",
          "The checkpoint was written by another build of this engine; starting from the beginning.",
        );
      const seed = kept?.seed ?? input.seed ?? randomInt(2 ** 32);
      const condition = { shape, text: await batcher.between(() => prompts.encode(asked)), guidanceScale };

      const base =
        given && encoder && !kept ? await encode(native, await given.fitted(native), encoder) : undefined;
      const pictures =
        kept?.pictures ??
        Array.from({ length: input.num_images }, (_, i) => {
          const noise = normalNoise(BigInt(seed) + BigInt(i), countOf(shape));
          return { done: 0, latents: base ? addNoise(base, noise, sigmas[0] ?? 0) : noise };
        });
      const total = steps * pictures.length;
      const stepsDone = () => pictures.reduce((sum, { done }) => sum + done, 0);
      const begunAt = stepsDone();
      const denoisingMs = performance.now();
      let toldMs = Number.NEGATIVE_INFINITY;
      const preview = createPreviewer(emit, native, (guess) => decode(shape, guess, "guess"));
      // A picture that fails takes the others of its request with it.
      const failed = new AbortController();
      const stop = AbortSignal.any([signal, failed.signal]);

      const denoised = pictures.map((picture) =>
        batcher.denoise({
          shapeKey: `${shape.width}x${shape.height}`,
          latents: picture.latents,
          sigmas,
          condition,
          from: picture.done,
          onStep: (done, velocity, sigma) => {
            picture.done = done;
            const step = stepsDone();
            const nowMs = performance.now();
            const elapsedMs = nowMs - denoisingMs;
            if (step === total || nowMs - toldMs >= PROGRESS_MS) {
              toldMs = nowMs;
              emit.progress(step, total, Math.round((elapsedMs / (step - begunAt)) * (total - step)));
            }
            if (step < total) {
              emit.checkpoint?.(step, () => ({
                values: { seed, done: pictures.map((one) => one.done) },
                tensors: pictures.map(({ latents }) => latents),
              }));
            }
            // What others have of the device is no time of this run.
            const ownMs = (elapsedMs * pictures.length) / Math.max(batcher.inFlight, pictures.length);
            return done < steps ? preview(step, picture.latents, velocity, sigma, ownMs) : undefined;
          },
          signal: stop,
        }),
      );
      for (const one of denoised) one.catch((error) => failed.abort(error));

      const images: JsonObject[] = [];
      let encodingMs = 0;
      // In order, although later ones may be done first: the same request gives its files in the same order.
      for (const [i, { latents }] of pictures.entries()) {
        await denoised[i];
        const rgb = await decode(shape, latents, "result");
        stop.throwIfAborted();
        const encodedMs = performance.now();
        const bytes = await encodePicture(rgb, native, size, input.output_format);
        stop.throwIfAborted();
        const contentType = `image/${input.output_format}`;
        const fileName = `${BigInt(seed) + BigInt(i)}.${input.output_format === "png" ? "png" : "jpg"}`;
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

/** fal's `ImageSize`, by name or in numbers. */
const askedFor = (size: z.infer<typeof Input>["image_size"]): PictureSize | undefined =>
  typeof size === "string" ? IMAGE_SIZE_PRESETS[size] : (size ?? undefined);

async function givenPicture(value: string | undefined, files: RunnerRun["files"]): Promise<GivenPicture> {
  const file = attachedFile(value, files);
  if (!file)
    throw inputFault(
      "image_url",
      "image_load_error",
      "The image was not fetched; send an http, https or data URL.",
    );
  return readPicture(file.path, "image_url");
}

/** A given picture's own size where it can be made; else the same shape, scaled to fit. */
function boundedSize({ width, height }: PictureSize): PictureSize {
  const scale = Math.min(
    Math.max(1, GIVEN_SIDE_MIN / Math.min(width, height)),
    GIVEN_SIDE_MAX / Math.max(width, height),
  );
  const side = (length: number) => Math.max(GIVEN_SIDE_MIN, Math.round(length * scale));
  return { width: side(width), height: side(height) };
}

const countOf = ({ channels, height, width }: LatentShape): number => channels * height * width;

const guidedItem = ({
  latents,
  sigma,
  condition: { shape, text, guidanceScale },
}: StepItem<PictureCondition>): GuidedItem => ({
  latents: { data: latents, shape: [shape.channels, shape.height, shape.width] },
  sigma,
  conditions: text,
  guidanceScale,
  shape,
});

/** The pictures as a checkpoint has them; undefined when another build of this engine wrote it. */
function keptPictures({ values, tensors }: RunState, images: number, count: number, steps: number) {
  const { seed, done } = values;
  const fits =
    typeof seed === "number" &&
    Array.isArray(done) &&
    done.length === images &&
    tensors.length === images &&
    tensors.every(({ length }) => length === count) &&
    done.every((n) => typeof n === "number" && n >= 0 && n <= steps);
  return fits
    ? { seed, pictures: tensors.map((latents, i) => ({ latents, done: Number(done[i]) })) }
    : undefined;
}

/**
 * Shows what the picture will be, as far as the velocity tells: the latents without the noise that is left in
 * them. Previews take a twentieth of the run's own time so far, so that at most one more than that is made.
 */
function createPreviewer(
  emit: RunEmitter,
  native: PictureSize,
  decode: (latents: Float32Array) => Promise<Buffer>,
) {
  let spentMs = 0;
  let busy = false;
  return (
    step: number,
    latents: Float32Array,
    velocity: Float32Array,
    sigma: number,
    ownMs: number,
  ): Promise<void> | undefined => {
    if (!emit.preview || busy || spentMs > ownMs / 20) return undefined;
    busy = true;
    const sinceMs = performance.now();
    const guess = latents.map((value, i) => value - sigma * (velocity[i] ?? 0));
    return (async () => {
      try {
        const rgb = await decode(guess);
        emit.preview?.(step, "image/jpeg", await encodePicture(rgb, native, previewSize(native), "jpeg"));
      } finally {
        busy = false;
        spentMs += performance.now() - sinceMs;
      }
    })();
  };
}

const PREVIEW_SIDE_MAX = 256;

/** The same shape, its longer side at most 256 pixels. */
function previewSize({ width, height }: PictureSize): PictureSize {
  const scale = Math.min(1, PREVIEW_SIDE_MAX / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/** What the caller should know about how the request is served; nothing is changed silently. */
function remarks({
  input,
  ofPrompt,
  size,
  native,
  turbo,
}: {
  input: z.infer<typeof Input>;
  ofPrompt: PromptRemark[];
  size: PictureSize;
  native: PictureSize;
  turbo: { steps: number; guidanceScale: number };
}): { level: "INFO" | "WARN"; message: string }[] {
  const said: { level: "INFO" | "WARN"; message: string }[] = [];
  if (size.width !== native.width || size.height !== native.height) {
    said.push({
      level: "INFO",
      message: `Rendered at ${native.width}x${native.height}, scaled to ${size.width}x${size.height}.`,
    });
  }
  if (input.use_turbo)
    said.push({ level: "INFO", message: `Turbo: ${turbo.steps} steps, guidance ${turbo.guidanceScale}.` });
  said.push(...ofPrompt);
  if (input.enable_safety_checker) {
    said.push({
      level: "INFO",
      message: "This model has no safety checker; has_nsfw_concepts is always false.",
    });
  }
  return said;
}
