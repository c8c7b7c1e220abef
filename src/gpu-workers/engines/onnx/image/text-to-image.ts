/**
 * The runners `text-to-image` and `image-to-image`: a latent flow-matching model with the components of a
 * diffusers pipeline (tokenizer, text encoder, transformer, VAE, scheduler), called with fal's input for
 * either.
 *
 * The model folder (the layout of diffusers, each network as `model.onnx`; B batch, L tokens, D width, C
 * latent channels, h × w latents of H × W pixels):
 *
 * | file | takes | gives |
 * |---|---|---|
 * | tokenizer/tokenizer.json | text | ids; its special tokens are named [PAD], [UNK], [EOS] |
 * | text_encoder/model.onnx | input_ids, attention_mask int64 [B,L] | hidden_states [B,L,D] |
 * | transformer/model.onnx | latents [B,C,h,w], timestep [B] = 1000·σ, encoder_hidden_states, encoder_attention_mask | velocity, noise − data |
 * | vae_decoder/model.onnx | latents [B,C,h,w] of unit variance | image [B,3,H,W], -1..1 |
 * | vae_encoder/model.onnx | image | latents; for `image-to-image` only |
 * | scheduler/scheduler_config.json | | FlowMatchEulerDiscreteScheduler |
 */
import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import type { JsonObject } from "../../../../core/json/json.ts";
import type { RunState } from "../../../contract/checkpoint.ts";
import type { RunEmitter, RunnerLoad, RunnerRun } from "../../../engine-sdk/runner.ts";
import {
  type LoadedModel,
  type LoadProgress,
  logRemarks,
  type Remark,
  type RunResult,
} from "../runtime/loaded-model.ts";
import { type ModelComponents, openComponents } from "../runtime/model-components.ts";
import {
  isSeed,
  PixelSide,
  PixelSize,
  parseInput,
  parseParameters,
  SafetyThreshold,
  Seed,
  TextTokensMax,
  Threads,
} from "../runtime/model-schemas.ts";
import { createRowPass, type NetworkRow, type RowPass } from "../runtime/network-rows.ts";
import type { OnnxSession } from "../runtime/onnx-session.ts";
import { profileBatches, worthwhileItems } from "../sampling/batch-profile.ts";
import { restoreState, startProgress } from "../sampling/denoise-report.ts";
import { assertFinite } from "../sampling/finite.ts";
import { addNoise, flowMatchSigmas } from "../sampling/flow-match-euler.ts";
import type { LatentShape } from "../sampling/guidance.ts";
import { type GuidedItem, guidedVelocities, isGuided } from "../sampling/guided-pass.ts";
import { normalNoise } from "../sampling/philox.ts";
import { StepBatcher, type StepItem } from "../sampling/step-batcher.ts";
import { encodeImage, loadImageEncoder, toRgb } from "./encode-image.ts";
import { Previewer } from "./image-preview.ts";
import { IMAGE_SIZE_PRESETS, type ImageSize, nativeSizeFor } from "./image-size.ts";
import { type InputImage, readInputImage } from "./read-image.ts";
import { openSafetyCheck, type SafetyCheck } from "./safety-check.ts";

/** fal's default size, `landscape_4_3`. */
const DEFAULT_SIZE: ImageSize = { width: 1024, height: 768 };
/** Sides of a result whose size follows an input image, in pixels. */
const [INPUT_SIDE_MIN, INPUT_SIDE_MAX] = [64, 2048];
/** The longer side of a preview, in pixels. */
const PREVIEW_SIDE_MAX = 256;

/** The time that a loaded engine waits for its first request before it profiles its passes. */
const PROFILE_DELAY_MS = 1000;

/**
 * The least time between two reports of progress; the first and the last step are always reported. A viewer
 * sees no more, and a small model that takes hundreds of steps a second would spend a tenth of each on the
 * report.
 */
const PROGRESS_MS = 100;

/** `parameters:` of the manifest of a text-to-image model. */
const Parameters = z.object({
  threads: Threads,
  /** Sizes the model was trained at, in pixels. */
  nativeSizes: z.tuple([PixelSize], PixelSize),
  latentChannels: z.int().positive(),
  /** Pixels per latent, each way. */
  pixelsPerLatent: z.int().positive(),
  /** Latents per transformer token, each way. */
  patch: z.int().positive(),
  textTokensMax: TextTokensMax,
  guidanceRescale: z.enum(["none", "token"]).default("none"),
  /** The most images that share a step. Fewer when a profile finds that more bring nothing on this device. */
  batchMax: z.int().min(1).max(64).default(8),
  safetyThreshold: SafetyThreshold,
  /** Steps and guidance of a request with `use_turbo`. */
  turbo: z.object({ steps: z.int().positive(), guidanceScale: z.number().min(0) }),
});
type Parameters = z.infer<typeof Parameters>;

/**
 * fal's `ImageSize`: a side that is left out is 512. JSON Schema applies no defaults inside `anyOf`, so they
 * are applied here.
 */
const CustomSize = z.object({ width: PixelSide.default(512), height: PixelSide.default(512) });

const PresetName = z
  .string()
  .refine((name) => Object.hasOwn(IMAGE_SIZE_PRESETS, name), "Input should be a size that fal names");

/**
 * The fields of fal's input that this runner reads. The model's schema has checked them and filled in the
 * defaults.
 */
const Input = z.object({
  prompt: z.string(),
  negative_prompt: z.string(),
  image_size: z.union([PresetName, CustomSize, z.null()]).optional(),
  image_url: z.string().optional(),
  /** Share of the noise levels that are used: 1 ignores the input image, 0 keeps it. */
  strength: z.number().min(0).max(1).default(1),
  num_inference_steps: z.int().min(1).max(1000),
  guidance_scale: z.number().min(0),
  num_images: z.int().min(1).max(16),
  seed: Seed,
  use_turbo: z.boolean(),
  enable_safety_checker: z.boolean(),
  output_format: z.enum(["png", "jpeg"]),
});
type Input = z.infer<typeof Input>;

/** The subject of an image, as the transformer is given it. */
interface ImageCondition {
  shape: LatentShape;
  /** The prompt's row, and with guidance the negative prompt's. */
  text: NetworkRow[];
  guidanceScale: number;
}

/** The decisions about a run that follow from its input. */
interface ImagePlan {
  /** Of the files. */
  size: ImageSize;
  /** Of the rendering. */
  native: ImageSize;
  shape: LatentShape;
  guidanceScale: number;
  /** Noise levels of this run, falling, with a closing 0. */
  sigmas: Float32Array;
}

/** One image on its way from noise to data. */
interface ImageSample {
  /** Steps that are done. */
  done: number;
  /** float32 [channels, height, width]. */
  latents: Float32Array;
}

/** A run whose latents are there. */
interface ImageRun {
  input: Input;
  plan: ImagePlan;
  condition: ImageCondition;
  seed: number | bigint;
  samples: ImageSample[];
  emit: RunEmitter;
}

interface ImageNetworks extends ModelComponents {
  transformer: RowPass;
  decoder: OnnxSession;
  /** Only where the model starts from an image. */
  encoder?: OnnxSession;
  /** Only where the operator chose one. */
  safety?: SafetyCheck;
}

/** Loads a model that makes images from noise. */
export function loadTextToImage(load: RunnerLoad, progress: LoadProgress): Promise<LoadedModel> {
  return loadImageModel(load, progress, false);
}

/** Loads a model that starts from the image at `image_url`, noised as much as `strength` says. */
export function loadImageToImage(load: RunnerLoad, progress: LoadProgress): Promise<LoadedModel> {
  return loadImageModel(load, progress, true);
}

async function loadImageModel(
  { folder, parameters: raw }: RunnerLoad,
  progress: LoadProgress,
  startsFromImage: boolean,
): Promise<LoadedModel> {
  const parameters = parseParameters(Parameters, raw);
  const components = await openComponents(folder, parameters, progress);
  const transformer = createRowPass(await components.openNetwork("transformer"), parameters.threads);
  progress(0.7, "transformer");
  const decoder = await components.openNetwork("vae_decoder");
  const encoder = startsFromImage ? await components.openNetwork("vae_encoder") : undefined;
  const safety = await openSafetyCheck(parameters);
  progress(1, "decoder");
  const model = new ImageModel(parameters, {
    ...components,
    transformer,
    decoder,
    ...(encoder && { encoder }),
    ...(safety && { safety }),
  });
  void model.profile().catch((error) => console.log(`Steps could not be profiled: ${String(error)}`));
  return model;
}

class ImageModel implements LoadedModel {
  readonly #parameters: Parameters;
  readonly #networks: ImageNetworks;
  readonly #batcher: StepBatcher<ImageCondition>;
  #markFirstRun = () => {};
  readonly #firstRun = new Promise<void>((resolve) => {
    this.#markFirstRun = resolve;
  });

  constructor(parameters: Parameters, networks: ImageNetworks) {
    this.#parameters = parameters;
    this.#networks = networks;
    this.#batcher = new StepBatcher({
      predict: (items) => this.#predict(items),
      itemsMax: parameters.batchMax,
    });
  }

  async run(
    { input: raw, files, resume }: RunnerRun,
    emit: RunEmitter,
    signal: AbortSignal,
  ): Promise<RunResult> {
    const startedMs = performance.now();
    this.#markFirstRun();
    const { prompts, encoder, safety } = this.#networks;
    const input = parseInput(Input, raw);
    const source = encoder && (await readInputImage(input.image_url, files, "image_url"));
    const plan = this.#plan(input, source);
    const prompt = prompts.tokenize(input.prompt);
    logRemarks(emit, remarks(input, plan, prompts.remarks(prompt), this.#parameters.turbo, safety));

    const restored = restoreState(resume, (state) => readSamples(state, input, plan), emit);
    const seed = restored?.seed ?? input.seed ?? randomInt(2 ** 32);
    const texts = isGuided(plan.guidanceScale) ? [prompt, prompts.tokenize(input.negative_prompt)] : [prompt];
    const text = await this.#batcher.between(() => prompts.encode(texts));
    const condition = { shape: plan.shape, text, guidanceScale: plan.guidanceScale };
    const samples = restored?.samples ?? (await this.#beginSamples(plan, input.num_images, seed, source));

    const imageRun: ImageRun = { input, plan, condition, seed, samples, emit };
    const { denoised, stop } = this.#denoise(imageRun, signal);
    const { images, unsafe, encodingMs } = await this.#finish(imageRun, denoised, stop);
    const inferenceMs = performance.now() - startedMs - encodingMs;
    const output: JsonObject = {
      images,
      timings: { inference: Math.round(inferenceMs) / 1000 },
      seed,
      has_nsfw_concepts: unsafe,
      prompt: input.prompt,
    };
    return { output, inferenceMs };
  }

  /**
   * Measures the number of images that a pass is worth on this device; until then the manifest's limit
   * counts. Waits for idle moments, so that no request is delayed: the engine may have been started for one
   * that is about to come.
   */
  async profile(): Promise<void> {
    const { batchMax, nativeSizes, threads } = this.#parameters;
    const { prompts } = this.#networks;
    const batcher = this.#batcher;
    await Promise.race([this.#firstRun, sleep(PROFILE_DELAY_MS, undefined, { ref: false })]);
    await batcher.whenIdle(() => loadImageEncoder(threads));
    const shape = this.#shapeOf(nativeSizes[0]);
    const text = await batcher.between(() => prompts.encode([prompts.tokenize(""), prompts.tokenize("")]));
    const condition = { shape, text, guidanceScale: 2 };
    const latents = new Float32Array(countOf(shape));
    const profile = await profileBatches(batchMax, (items) =>
      batcher.whenIdle(async () => {
        const sinceMs = performance.now();
        await this.#predict(Array.from({ length: items }, () => ({ latents, sigma: 1, condition })));
        return performance.now() - sinceMs;
      }),
    );
    batcher.itemsMax = worthwhileItems(profile);
    const times = profile.map(({ items, passMs }) => `${items}: ${passMs.toFixed(1)} ms`).join(", ");
    console.log(`Up to ${batcher.itemsMax} images share a step (${times}).`);
  }

  #predict(items: readonly StepItem<ImageCondition>[]): Promise<Float32Array[]> {
    return guidedVelocities(
      this.#networks.transformer,
      items.map(guidedItem),
      this.#parameters.guidanceRescale,
    );
  }

  #shapeOf({ width, height }: ImageSize): LatentShape {
    const { latentChannels: channels, pixelsPerLatent, patch } = this.#parameters;
    return { channels, height: height / pixelsPerLatent, width: width / pixelsPerLatent, patch };
  }

  #plan(input: Input, source: InputImage | undefined): ImagePlan {
    const { nativeSizes, turbo, patch } = this.#parameters;
    const size = requestedSize(input.image_size) ?? (source ? boundedSize(source.size) : DEFAULT_SIZE);
    const native = nativeSizeFor(size, nativeSizes);
    const levels = input.use_turbo ? turbo.steps : input.num_inference_steps;
    const guidanceScale = input.use_turbo ? turbo.guidanceScale : input.guidance_scale;
    const shape = this.#shapeOf(native);
    const tokens = (shape.height / patch) * (shape.width / patch);
    const allSigmas = flowMatchSigmas(this.#networks.scheduler, levels, tokens);
    // As QwenImageImg2ImgPipeline cuts them: the first levels, whose noise would leave nothing of the input
    // image, are skipped.
    const sigmas = source
      ? allSigmas.subarray(Math.floor(levels - levels * input.strength + 1e-9))
      : allSigmas;
    return { size, native, shape, guidanceScale, sigmas };
  }

  /**
   * Makes the noise of each image, of seed + i for image i, over the input image's latents if there is one.
   */
  async #beginSamples(
    { native, shape, sigmas }: ImagePlan,
    count: number,
    seed: number | bigint,
    source: InputImage | undefined,
  ): Promise<ImageSample[]> {
    const base = source && (await this.#encode(native, await source.fitted(native)));
    return Array.from({ length: count }, (_, i) => {
      const noise = normalNoise(BigInt(seed) + BigInt(i), countOf(shape));
      return { done: 0, latents: base ? addNoise(base, noise, sigmas[0] ?? 0) : noise };
    });
  }

  /** Gives the latents of an image, float32 [3, height, width], -1..1. */
  async #encode({ width, height }: ImageSize, planes: Float32Array): Promise<Float32Array | undefined> {
    const encoded = await this.#batcher.between(async () =>
      this.#networks.encoder?.run({ image: { data: planes, shape: [1, 3, height, width] } }),
    );
    return encoded?.data;
  }

  /**
   * Decodes latents to RGB, 8 bits each, row by row.
   *
   * @param kind numbers of an estimate may be anything; a result must be finite
   */
  #decode(
    { channels, height, width }: LatentShape,
    latents: Float32Array,
    kind: "estimate" | "result",
  ): Promise<Buffer> {
    return this.#batcher.between(async () => {
      const feed = { data: latents, shape: [1, channels, height, width] };
      const { data } = await this.#networks.decoder.run({ latents: feed });
      if (kind === "result") assertFinite(data);
      return toRgb(data);
    });
  }

  /**
   * Returns an image, or a black one in place of it when it is unsafe and the caller asked for the check.
   */
  async #cover(input: Input, rgb: Buffer, size: ImageSize): Promise<{ rgb: Buffer; isUnsafe: boolean }> {
    const { safety } = this.#networks;
    const isUnsafe =
      input.enable_safety_checker &&
      safety !== undefined &&
      (await this.#batcher.between(() => safety.isUnsafe(rgb, size)));
    return { rgb: isUnsafe ? Buffer.alloc(rgb.length) : rgb, isUnsafe };
  }

  /** Starts denoising every image of a run. An image that fails takes the others of its run with it. */
  #denoise(
    { input, plan, condition, seed, samples, emit }: ImageRun,
    signal: AbortSignal,
  ): { denoised: Promise<void>[]; stop: AbortSignal } {
    const { shape, native, sigmas } = plan;
    const stepsEach = sigmas.length - 1;
    const steps = stepsEach * samples.length;
    const stepsDone = () => samples.reduce((sum, { done }) => sum + done, 0);
    const report = startProgress(emit, { steps, stepsBefore: stepsDone(), everyMs: PROGRESS_MS });
    const previewer = new Previewer(emit, async (latents) => {
      const { rgb } = await this.#cover(input, await this.#decode(shape, latents, "estimate"), native);
      return encodeImage(rgb, native, previewSize(native), "jpeg");
    });
    const failed = new AbortController();
    const stop = AbortSignal.any([signal, failed.signal]);

    const afterStep = (sample: ImageSample, done: number, velocity: Float32Array, sigma: number) => {
      sample.done = done;
      const step = stepsDone();
      const elapsedMs = report(step);
      if (step < steps) {
        emit.checkpoint?.(step, () => ({
          values: { seed, done: samples.map((one) => one.done) },
          tensors: samples.map(({ latents }) => latents),
        }));
      }
      if (done === stepsEach) return undefined;
      // The share of the device that other runs have does not count as this run's time.
      const runMs = (elapsedMs * samples.length) / Math.max(this.#batcher.inFlight, samples.length);
      const { latents } = sample;
      return previewer.show({ step, runMs }, () =>
        latents.map((value, i) => value - sigma * (velocity[i] ?? 0)),
      );
    };

    const denoised = samples.map((sample) =>
      this.#batcher.denoise({
        shapeKey: `${shape.width}x${shape.height}`,
        latents: sample.latents,
        sigmas,
        condition,
        from: sample.done,
        onStep: (...step) => afterStep(sample, ...step),
        signal: stop,
      }),
    );
    for (const one of denoised) one.catch((error) => failed.abort(error));
    return { denoised, stop };
  }

  /**
   * Decodes, encodes and sends each image when it is done: in order, although later ones may be done first,
   * so that the same request gives its files in the same order.
   */
  async #finish(
    { input, plan: { shape, native, size }, seed, samples, emit }: ImageRun,
    denoised: readonly Promise<void>[],
    stop: AbortSignal,
  ): Promise<{ images: JsonObject[]; unsafe: boolean[]; encodingMs: number }> {
    const { output_format: format } = input;
    const images: JsonObject[] = [];
    const unsafe: boolean[] = [];
    let encodingMs = 0;
    for (const [i, { latents }] of samples.entries()) {
      await denoised[i];
      const { rgb, isUnsafe } = await this.#cover(
        input,
        await this.#decode(shape, latents, "result"),
        native,
      );
      unsafe.push(isUnsafe);
      stop.throwIfAborted();
      const sinceMs = performance.now();
      const bytes = await encodeImage(rgb, native, size, format);
      stop.throwIfAborted();
      const fileName = `${BigInt(seed) + BigInt(i)}.${format === "png" ? "png" : "jpg"}`;
      const file = { contentType: `image/${format}`, fileName, ...size };
      images.push({ ...(await emit.artifact(file, bytes)), ...size });
      encodingMs += performance.now() - sinceMs;
    }
    if (input.enable_safety_checker && this.#networks.safety) {
      const found = unsafe.filter(Boolean).length;
      emit.log(
        "INFO",
        `The safety checker found ${found} of ${images.length} images unsafe; such are black.`,
      );
    }
    return { images, unsafe, encodingMs };
  }
}

/** fal's `ImageSize`, by name or in numbers. */
function requestedSize(size: Input["image_size"]): ImageSize | undefined {
  return typeof size === "string" ? IMAGE_SIZE_PRESETS[size] : (size ?? undefined);
}

/** An input image's own size where it can be made; else the same shape, scaled to fit. */
function boundedSize({ width, height }: ImageSize): ImageSize {
  const scale = Math.min(
    Math.max(1, INPUT_SIDE_MIN / Math.min(width, height)),
    INPUT_SIDE_MAX / Math.max(width, height),
  );
  const side = (length: number) => Math.max(INPUT_SIDE_MIN, Math.round(length * scale));
  return { width: side(width), height: side(height) };
}

function countOf({ channels, height, width }: LatentShape): number {
  return channels * height * width;
}

function guidedItem({
  latents,
  sigma,
  condition: { shape, text, guidanceScale },
}: StepItem<ImageCondition>): GuidedItem {
  return {
    latents: { data: latents, shape: [shape.channels, shape.height, shape.width] },
    sigma,
    conditions: text,
    guidanceScale,
    shape,
  };
}

/** Reads the images of a checkpoint; undefined when they do not fit the run. */
function readSamples(
  { values, tensors }: RunState,
  { num_images: images }: Input,
  { shape, sigmas }: ImagePlan,
) {
  const { seed, done } = values;
  const steps = sigmas.length - 1;
  const fits =
    isSeed(seed) &&
    Array.isArray(done) &&
    done.length === images &&
    tensors.length === images &&
    tensors.every(({ length }) => length === countOf(shape)) &&
    done.every((n) => typeof n === "number" && n >= 0 && n <= steps);
  return fits
    ? { seed, samples: tensors.map((latents, i) => ({ latents, done: Number(done[i]) })) }
    : undefined;
}

/** The same shape, its longer side at most 256 pixels. */
function previewSize({ width, height }: ImageSize): ImageSize {
  const scale = Math.min(1, PREVIEW_SIDE_MAX / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/** Tells the caller how the request is carried out; nothing is changed silently. */
function remarks(
  input: Input,
  { size, native }: ImagePlan,
  ofPrompt: readonly Remark[],
  turbo: Parameters["turbo"],
  safety: SafetyCheck | undefined,
): Remark[] {
  const found: Remark[] = [];
  const inform = (message: string) => found.push({ level: "INFO", message });
  if (size.width !== native.width || size.height !== native.height)
    inform(`Rendered at ${native.width}x${native.height}, scaled to ${size.width}x${size.height}.`);
  if (input.use_turbo) inform(`Turbo: ${turbo.steps} steps, guidance ${turbo.guidanceScale}.`);
  found.push(...ofPrompt);
  if (input.enable_safety_checker && !safety)
    inform("This model has no safety checker; has_nsfw_concepts is always false.");
  return found;
}
