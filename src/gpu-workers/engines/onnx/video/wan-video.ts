/**
 * The runner `wan_video`: text-to-video and image-to-video with the components of Wan 2.2, called with fal's
 * input for it. With an `image_url` in the input the video begins with that image.
 *
 * The model folder (the layout of diffusers, each network as `model.onnx`; B batch, L tokens, D width, C
 * latent channels, F latent frames of h × w latents, s pixels per latent, T frames of H × W pixels):
 *
 * | file | takes | gives |
 * |---|---|---|
 * | tokenizer/tokenizer.json | text | ids; its special tokens are named [PAD], [UNK], [EOS] |
 * | text_encoder/model.onnx | input_ids, attention_mask int64 [B,L] | hidden_states [B,L,D] |
 * | transformer/model.onnx | latents [B, C + stride + C, F, h, w], timestep [B] = 1000·σ, encoder_hidden_states, encoder_attention_mask | velocity [B,C,F,h,w], noise − data |
 * | transformer_2/model.onnx | the same, for noise levels below `boundary` | only with `boundary` |
 * | vae_encoder/model.onnx | video [B,3,T,H,W], -1..1, T = stride·(F−1)+1 | latents [B,C,F,H/s,W/s] of unit variance |
 * | vae_decoder/model.onnx | latents | video |
 * | scheduler/scheduler_config.json | | FlowMatchEulerDiscreteScheduler; the input's `shift` replaces its own |
 *
 * The transformer's channels are in Wan's order: noisy latents, a mask of `stride` channels (one for each
 * frame of a latent frame: 1 where it is given), latents of the given frames.
 */
import { z } from "zod";
import type { RunEmitter } from "../../../engine-sdk/run-emitter.ts";
import type { RunnerLoad, RunnerRun } from "../../../engine-sdk/runner.ts";
import { encodeImage, loadImageEncoder, toRgb } from "../image/encode-image.ts";
import { Previewer } from "../image/image-preview.ts";
import type { ImageSize } from "../image/image-size.ts";
import { readInputImage } from "../image/read-image.ts";
import { FLAGGED, openSafetyCheck, type SafetyCheck } from "../image/safety-check.ts";
import { writeVideo } from "../media/write-video.ts";
import { inputFault } from "../runtime/input-error.ts";
import {
  type LoadedModel,
  type LoadProgress,
  logRemarks,
  type Remark,
  type RunResult,
} from "../runtime/loaded-model.ts";
import { type ModelComponents, openComponents } from "../runtime/model-components.ts";
import {
  PixelSize,
  parseInput,
  parseParameters,
  SafetyThreshold,
  Seed,
  TextTokensMax,
  Threads,
} from "../runtime/model-schemas.ts";
import { createRowRunner, type NetworkRow, type RowPass } from "../runtime/network-rows.ts";
import type { OnnxSession } from "../runtime/onnx-session.ts";
import { beginSample, denoiseSample, type Sample } from "../sampling/denoise-sample.ts";
import { assertFinite } from "../sampling/finite.ts";
import { flowMatchSigmas } from "../sampling/flow-match-euler.ts";
import { type GuidedItem, guidedVelocities } from "../sampling/guided-pass.ts";
import { StepBatcher, type StepItem } from "../sampling/step-batcher.ts";
import { frameOf, nearestAspect, planVideo, resampleFrames, type VideoPlan } from "./video-plan.ts";

/** Most frames of a video that the safety checker looks at, evenly over its length. */
const CHECKED_FRAMES_MAX = 16;

/** `parameters:` of the manifest. */
const Parameters = z.object({
  threads: Threads,
  /** Sizes the model was trained at, in pixels: one of each shape, 16:9, 9:16 and 1:1. */
  nativeSizes: z.tuple([PixelSize], PixelSize),
  latentChannels: z.int().positive(),
  /** Pixels per latent, each way. */
  pixelsPerLatent: z.int().positive(),
  /** Frames per latent frame; the first latent frame stands for one. */
  temporalStride: z.int().positive(),
  /** Frames of one generation. */
  framesMin: z.int().positive(),
  framesMax: z.int().positive(),
  /** Latents per transformer token, each way. */
  patch: z.int().positive(),
  textTokensMax: TextTokensMax,
  /**
   * The way an input image enters the condition: alone, as a video of one frame, in the first latent frame.
   */
  conditionEncoding: z.literal("frame").default("frame"),
  /** With a second transformer: it takes over below this noise level, 0..1, with `guidance_scale_2`. */
  boundary: z.number().gt(0).lt(1).optional(),
  /** The most videos that share a step. */
  batchMax: z.int().min(1).max(64).default(2),
  safetyThreshold: SafetyThreshold,
});
type Parameters = z.infer<typeof Parameters>;

/**
 * The fields of fal's input that this runner reads. The model's schema has checked them and filled in the
 * defaults.
 */
const Input = z.object({
  prompt: z.string(),
  negative_prompt: z.string(),
  image_url: z.string().optional(),
  num_frames: z.int().min(1).max(1000),
  frames_per_second: z.int().min(1).max(240),
  seed: Seed,
  resolution: z.enum(["480p", "580p", "720p"]),
  aspect_ratio: z.enum(["auto", "16:9", "9:16", "1:1"]),
  num_inference_steps: z.int().min(1).max(1000),
  guidance_scale: z.number().min(0),
  guidance_scale_2: z.number().min(0),
  shift: z.number().gt(0),
  acceleration: z.enum(["none", "regular"]),
  interpolator_model: z.enum(["none", "film", "rife"]),
  num_interpolated_frames: z.int().min(0).max(16),
  adjust_fps_for_interpolation: z.boolean(),
  enable_safety_checker: z.boolean(),
  enable_output_safety_checker: z.boolean(),
  video_quality: z.enum(["low", "medium", "high", "maximum"]),
  video_write_mode: z.enum(["fast", "balanced", "small"]),
});
type Input = z.infer<typeof Input>;

/** Latent frames, rows and columns: F, h, w. */
type LatentVideoShape = readonly [frames: number, rows: number, columns: number];

/** The subject of a video, as the transformer is given it. */
interface VideoCondition {
  shape: LatentVideoShape;
  /** Mask and latents of the given frames, [stride + C, F, h, w]; zeros where nothing is given. */
  given: Float32Array;
  /** The prompt's row, then the negative prompt's. */
  text: NetworkRow[];
  guidanceScale: number;
  /** Of the second transformer. */
  guidanceScale2: number;
}

interface VideoNetworks extends ModelComponents {
  transformer: RowPass;
  /** Only where the manifest names a `boundary`. */
  transformer2?: RowPass;
  decoder: OnnxSession;
  encoder: OnnxSession;
  /** Only where the operator chose one. */
  safety?: SafetyCheck;
}

export async function loadWanVideo(
  { folder, parameters: raw }: RunnerLoad,
  progress: LoadProgress,
): Promise<LoadedModel> {
  const parameters = parseParameters(Parameters, raw);
  const { threads, boundary } = parameters;
  const components = await openComponents(folder, parameters, progress);
  const openTransformer = async (name: string) =>
    createRowRunner(await components.openNetwork(name), threads);
  const transformer = await openTransformer("transformer");
  const transformer2 = boundary === undefined ? undefined : await openTransformer("transformer_2");
  progress(0.7, "transformer");
  const decoder = await components.openNetwork("vae_decoder");
  const encoder = await components.openNetwork("vae_encoder");
  await loadImageEncoder(threads);
  const safety = await openSafetyCheck(parameters);
  progress(1, "decoder");
  return new WanVideoModel(parameters, {
    ...components,
    transformer,
    ...(transformer2 && { transformer2 }),
    decoder,
    encoder,
    ...(safety && { safety }),
  });
}

class WanVideoModel implements LoadedModel {
  readonly #parameters: Parameters;
  readonly #networks: VideoNetworks;
  readonly #batcher: StepBatcher<VideoCondition>;

  constructor(parameters: Parameters, networks: VideoNetworks) {
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
    const { prompts } = this.#networks;
    const input = parseInput(Input, raw);
    const { image_url: url, num_inference_steps: steps } = input;
    const firstFrame = url === undefined ? undefined : await readInputImage(url, files, "image_url");
    const plan = this.#plan(input, firstFrame?.size);
    const planes = await firstFrame?.fitted(plan.native);
    if (planes && input.enable_safety_checker) await this.#refuseUnsafe(toRgb(planes), plan, "image_url");
    signal.throwIfAborted();

    const shape = this.#latentShape(plan);
    const count = this.#parameters.latentChannels * shape[0] * shape[1] * shape[2];
    const sample = beginSample({ resume, emit, count, steps, seed: input.seed, seedsMax: 2 ** 32 });
    const prompt = prompts.tokenize(input.prompt);
    logRemarks(emit, [...prompts.remarks(prompt), ...remarks(input, plan, this.#networks.safety)]);
    const condition: VideoCondition = {
      shape,
      given: await this.#encodeGiven(planes, plan, shape),
      text: await this.#batcher.between(() =>
        prompts.encode([prompt, prompts.tokenize(input.negative_prompt)]),
      ),
      guidanceScale: input.guidance_scale,
      guidanceScale2: input.guidance_scale_2,
    };

    await this.#denoise(sample, condition, input, plan, emit, signal);
    this.#restoreGiven(sample.latents, condition);
    const video = await this.#decode(sample.latents, shape);
    assertFinite(video);
    if (input.enable_output_safety_checker) await this.#refuseUnsafeVideo(video, plan, signal);
    signal.throwIfAborted();
    const encodingMs = performance.now();
    const bytes = await this.#encodeFile(video, plan, input, signal);
    const { width, height } = plan.output;
    const { seed } = sample;
    const file = { contentType: "video/mp4", fileName: `${BigInt(seed)}.mp4`, width, height };
    const output = { video: await emit.artifact(file, bytes), prompt: input.prompt, seed };
    return { output, inferenceMs: encodingMs - startedMs };
  }

  #plan(input: Input, firstFrame: { width: number; height: number } | undefined): VideoPlan {
    const automatic = firstFrame ? nearestAspect(firstFrame) : "16:9";
    return planVideo(
      {
        frames: input.num_frames,
        fps: input.frames_per_second,
        resolution: input.resolution,
        aspect: input.aspect_ratio === "auto" ? automatic : input.aspect_ratio,
        framesBetween: input.interpolator_model === "none" ? 0 : input.num_interpolated_frames,
        adjustFps: input.adjust_fps_for_interpolation,
      },
      this.#parameters,
    );
  }

  #latentShape({ native }: VideoPlan): LatentVideoShape {
    const { temporalStride, pixelsPerLatent } = this.#parameters;
    return [
      (native.frames - 1) / temporalStride + 1,
      native.height / pixelsPerLatent,
      native.width / pixelsPerLatent,
    ];
  }

  /** Predicts each expert's items in a pass of their own. */
  async #predict(items: readonly StepItem<VideoCondition>[]): Promise<Float32Array[]> {
    const parts = items.map((item) => ({ ...item, ...this.#expertFor(item) }));
    const velocities = new Array<Float32Array>(items.length);
    for (const expert of new Set(parts.map((part) => part.expert))) {
      const own = parts.flatMap((part, index) => (part.expert === expert ? [{ ...part, index }] : []));
      const predicted = await guidedVelocities(
        expert,
        own.map((part) => this.#guidedItem(part)),
      );
      own.forEach(({ index }, i) => {
        velocities[index] = predicted[i] as Float32Array;
      });
    }
    return velocities;
  }

  /** Chooses the expert for a noise level, and the strength of its guidance. */
  #expertFor({ sigma, condition: { guidanceScale, guidanceScale2 } }: StepItem<VideoCondition>) {
    const { transformer, transformer2 } = this.#networks;
    const { boundary } = this.#parameters;
    return transformer2 && boundary !== undefined && sigma < boundary
      ? { expert: transformer2, scale: guidanceScale2 }
      : { expert: transformer, scale: guidanceScale };
  }

  #guidedItem({
    latents,
    sigma,
    condition,
    scale,
  }: StepItem<VideoCondition> & { scale: number }): GuidedItem {
    const { latentChannels: channels, temporalStride, patch } = this.#parameters;
    const [frames, height, width] = condition.shape;
    const joined = new Float32Array(latents.length + condition.given.length);
    joined.set(latents);
    joined.set(condition.given, latents.length);
    return {
      latents: { data: joined, shape: [2 * channels + temporalStride, ...condition.shape] },
      sigma,
      conditions: condition.text,
      guidanceScale: scale,
      shape: { channels: channels * frames, height, width, patch },
    };
  }

  /**
   * Gives the mask and the latents of the given frames, [stride + C, F, h, w]: zeros, or the first frame.
   *
   * @param planes float32 [3, height, width], -1..1, of the native size
   */
  async #encodeGiven(
    planes: Float32Array | undefined,
    { native }: VideoPlan,
    [frames, rows, columns]: LatentVideoShape,
  ): Promise<Float32Array> {
    const { latentChannels: channels, temporalStride } = this.#parameters;
    const area = rows * columns;
    const given = new Float32Array((temporalStride + channels) * frames * area);
    if (!planes) return given;
    const shape = [1, 3, 1, native.height, native.width];
    const { data } = await this.#batcher.between(() =>
      this.#networks.encoder.run({ video: { data: planes, shape } }),
    );
    if (data.length !== channels * area)
      throw new Error(
        `The encoder gave ${data.length} numbers for one frame: it does not fit the parameters.`,
      );
    for (let c = 0; c < temporalStride + channels; c++) {
      const to = c * frames * area;
      if (c < temporalStride) given.fill(1, to, to + area);
      else given.set(data.subarray((c - temporalStride) * area, (c - temporalStride + 1) * area), to);
    }
    return given;
  }

  /** Puts the given frames, which are known exactly, in place of the model's prediction of them. */
  #restoreGiven(latents: Float32Array, { given, shape: [frames, rows, columns] }: VideoCondition): void {
    const { latentChannels: channels, temporalStride } = this.#parameters;
    const area = rows * columns;
    for (let frame = 0; frame < frames; frame++) {
      if (given[frame * area] !== 1) continue;
      for (let c = 0; c < channels; c++) {
        const from = ((temporalStride + c) * frames + frame) * area;
        latents.set(given.subarray(from, from + area), (c * frames + frame) * area);
      }
    }
  }

  #denoise(
    sample: Sample,
    condition: VideoCondition,
    { shift, num_inference_steps: steps, enable_output_safety_checker: isChecked }: Input,
    { native }: VideoPlan,
    emit: RunEmitter,
    signal: AbortSignal,
  ): Promise<void> {
    const { shape } = condition;
    const { latentChannels: channels } = this.#parameters;
    const [, rows, columns] = shape;
    const previewer = new Previewer(emit, async (latents) => {
      const rgb = toRgb(await this.#decode(latents, [1, rows, columns]));
      const isUnsafe = isChecked && (await this.#isUnsafe(rgb, native));
      return encodeImage(isUnsafe ? Buffer.alloc(rgb.length) : rgb, native, native, "jpeg");
    });
    return denoiseSample(this.#batcher, {
      sample,
      sigmas: flowMatchSigmas({ ...this.#networks.scheduler, use_dynamic_shifting: false, shift }, steps, 0),
      condition,
      shapeKey: shape.join("x"),
      emit,
      signal,
      preview: (step, velocity, sigma, runMs) =>
        previewer.show({ step, runMs }, () =>
          estimateMiddleFrame(sample.latents, velocity, sigma, channels, shape),
        ),
    });
  }

  /**
   * Decodes latents [C, F, h, w] to a video, float32 [3, T, H, W], -1..1.
   *
   * @param shape F, h, w
   */
  #decode(latents: Float32Array, shape: readonly number[]): Promise<Float32Array> {
    const feed = { data: latents, shape: [1, this.#parameters.latentChannels, ...shape] };
    return this.#batcher.between(async () => (await this.#networks.decoder.run({ latents: feed })).data);
  }

  async #isUnsafe(rgb: Buffer, size: ImageSize): Promise<boolean> {
    const { safety } = this.#networks;
    return safety !== undefined && (await this.#batcher.between(() => safety.isUnsafe(rgb, size)));
  }

  async #refuseUnsafe(rgb: Buffer, { native }: VideoPlan, field: string): Promise<void> {
    if (await this.#isUnsafe(rgb, native)) throw inputFault(field, "content_policy_violation", FLAGGED);
  }

  /**
   * Refuses a video with an unsafe frame: its output has no field that could tell the caller of a black one.
   *
   * @param video float32 [3, T, H, W], -1..1
   */
  async #refuseUnsafeVideo(video: Float32Array, plan: VideoPlan, signal: AbortSignal): Promise<void> {
    if (!this.#networks.safety) return;
    const { frames, ...size } = plan.native;
    const checked = Math.min(frames, CHECKED_FRAMES_MAX);
    for (let i = 0; i < checked; i++) {
      signal.throwIfAborted();
      const index = Math.round((i * (frames - 1)) / Math.max(checked - 1, 1));
      await this.#refuseUnsafe(frameOf(video, { ...size, frames }, index), plan, "prompt");
    }
  }

  async #encodeFile(
    video: Float32Array,
    { native, output: { frames, fps, ...size } }: VideoPlan,
    input: Input,
    signal: AbortSignal,
  ): Promise<Buffer> {
    const bytes = await writeVideo({
      frames: resampleFrames(video, native, frames),
      from: native,
      size,
      fps,
      quality: input.video_quality,
      writeMode: input.video_write_mode,
      threads: this.#parameters.threads,
      signal,
    });
    signal.throwIfAborted();
    return bytes;
  }
}

/**
 * Estimates the latents of a frame from the middle of the video: without the noise that is left in them,
 * x − σ·v.
 *
 * @param latents  float32 [channels, F, h, w]
 * @param velocity same shape
 * @returns float32 [channels, 1, h, w]
 */
function estimateMiddleFrame(
  latents: Float32Array,
  velocity: Float32Array,
  sigma: number,
  channels: number,
  [frames, rows, columns]: LatentVideoShape,
): Float32Array {
  const area = rows * columns;
  const middle = frames >> 1;
  const estimate = new Float32Array(channels * area);
  for (let i = 0; i < estimate.length; i++) {
    const from = (Math.floor(i / area) * frames + middle) * area + (i % area);
    estimate[i] = (latents[from] ?? 0) - sigma * (velocity[from] ?? 0);
  }
  return estimate;
}

/** Tells the caller how the video is made; nothing is changed silently. */
function remarks(input: Input, { native, output }: VideoPlan, safety: SafetyCheck | undefined): Remark[] {
  const messages: string[] = [];
  if (native.width !== output.width || native.height !== output.height) {
    messages.push(
      `Rendered at ${native.width}x${native.height}, scaled to ${output.width}x${output.height}.`,
    );
  }
  if (native.frames !== input.num_frames) {
    messages.push(
      `Rendered ${native.frames} frames; the ${input.num_frames} requested ones are blended from them ` +
        "over the same motion.",
    );
  }
  if (output.frames !== input.num_frames) {
    const { interpolator_model: interpolator, num_interpolated_frames: between } = input;
    const blended =
      between === 1 ? "the frame between each pair is" : `the ${between} frames between each pair are`;
    messages.push(
      `This model has no interpolator "${interpolator}": ${blended} blended from both. ` +
        `The video has ${output.frames} frames at ${output.fps} frames per second.`,
    );
  }
  if (input.acceleration === "regular")
    messages.push("This model has no accelerated form: every step is computed.");
  if (!safety && (input.enable_safety_checker || input.enable_output_safety_checker))
    messages.push("This model has no safety checker; nothing was checked.");
  if (safety && input.enable_safety_checker)
    messages.push("The safety checker looks at the caller's image, not at the prompt.");
  return messages.map((message) => ({ level: "INFO", message }));
}
