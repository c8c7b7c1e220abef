/**
 * The runner `wan_video`: text-to-video and image-to-video with the components of Wan 2.2, called with fal's
 * input for it. With an `image_url` in the input the film begins with that picture.
 *
 * The model folder (the layout of diffusers, each network as `model.onnx`; C latent channels, s pixels per
 * latent):
 *
 * | file | takes | gives |
 * |---|---|---|
 * | tokenizer/tokenizer.json | text | ids; names [PAD], [UNK], [EOS] so |
 * | text_encoder/model.onnx | input_ids, attention_mask int64 [B,L] | hidden_states [B,L,D] |
 * | transformer/model.onnx | latents [B, C + stride + C, F, h, w], timestep [B] = 1000·σ, encoder_hidden_states, encoder_attention_mask | velocity [B,C,F,h,w], noise − data |
 * | transformer_2/model.onnx | the same, for noise levels below `boundary` | only with `boundary` |
 * | vae_encoder/model.onnx | video [B,3,T,H,W], -1..1, T = stride·(F−1)+1 | latents [B,C,F,H/s,W/s] of unit variance |
 * | vae_decoder/model.onnx | latents | video |
 * | scheduler/scheduler_config.json | | FlowMatchEulerDiscreteScheduler; the input's `shift` takes the place of its own |
 *
 * The transformer's channels are in Wan's order: noisy latents, a mask of `stride` channels (one for each
 * frame of a latent frame: 1 where it is given), latents of the given frames.
 */
import { randomInt } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { LogLevel } from "../../../../core/requests/events.ts";
import { attachedFile } from "../../../../core/files/input-file.ts";
import type { JsonObject } from "../../../../core/json/json.ts";
import type { RunState } from "../../../contract/checkpoint.ts";
import type { RunnerLoad, RunnerRun } from "../../../engine-sdk/engine-server.ts";
import type { RunEmitter } from "../../../engine-sdk/run-emitter.ts";
import { encodePicture, loadPictureEncoder, toRgb } from "../image/encode-image.ts";
import { type FilmPlan, filmFrames, nearestAspect, planFilm } from "./video-plan.ts";
import { mustBeFinite } from "../sampling/finite.ts";
import { flowMatchSigmas, parseSchedulerConfig } from "../sampling/flow-match-euler.ts";
import { type GuidedItem, guidedVelocities } from "../sampling/guided-pass.ts";
import { inputFault } from "../runtime/input-error.ts";
import { parseInput, parseParameters } from "../runtime/parse-model.ts";
import { createRowRunner, type NetworkRow } from "../runtime/network-rows.ts";
import { openOnnxSession } from "../runtime/onnx-session.ts";
import { normalNoise } from "../sampling/philox.ts";
import { openPromptStates } from "../runtime/prompt-embeddings.ts";
import { readPicture } from "../image/read-image.ts";
import { createStepBatcher, type StepItem } from "../sampling/step-batcher.ts";
import { writeVideo } from "../media/write-video.ts";

const side = z.int().min(16).max(16384);
const pictureSize = z.object({ width: side, height: side });

/** `parameters:` of the manifest. */
const Parameters = z.object({
  /** CPU threads of each network. Fixed, so that the same seed gives the same bytes. */
  threads: z.int().min(1).max(64).default(2),
  /** Sizes the model was trained at, in pixels: one of each shape, 16:9, 9:16 and 1:1. */
  nativeSizes: z.tuple([pictureSize], pictureSize),
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
  /** Tokens of a prompt, special ones included; longer prompts are cut, shorter ones padded. */
  textTokensMax: z.int().min(2),
  /**
   * How a given picture gets into the condition: alone, as a video of one frame, in the first latent frame.
   */
  conditionEncoding: z.literal("frame").default("frame"),
  /** With a second transformer: it takes over below this noise level, 0..1, with `guidance_scale_2`. */
  boundary: z.number().gt(0).lt(1).optional(),
  /** Films that share a step, at most. */
  batchMax: z.int().min(1).max(64).default(2),
});

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
  seed: z.number().refine(Number.isInteger, "Input should be a valid integer").nullish(),
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

export interface WanVideo {
  run(
    run: RunnerRun,
    emit: RunEmitter,
    signal: AbortSignal,
  ): Promise<{ output: JsonObject; inferenceMs: number }>;
}

/** What a film is to show. */
interface FilmCondition {
  /** Latent frames, rows and columns. */
  shape: readonly [frames: number, rows: number, columns: number];
  /** Mask and given latents, [stride + C, F, h, w]. */
  given: Float32Array;
  /** The prompt's row, then the negative prompt's. */
  text: NetworkRow[];
  guidanceScale: number;
  guidanceScale2: number;
}

export async function loadWanVideo(
  { folder, parameters }: RunnerLoad,
  progress: (fraction: number, says: string) => void,
): Promise<WanVideo> {
  const model = parseParameters(Parameters, parameters);
  const { threads, latentChannels: channels, pixelsPerLatent, temporalStride, boundary } = model;
  const open = (name: string) => openOnnxSession(join(folder, name, "model.onnx"), threads);
  const prompts = await openPromptStates(folder, { threads, tokensMax: model.textTokensMax });
  const scheduler = parseSchedulerConfig(
    await readFile(join(folder, "scheduler", "scheduler_config.json"), "utf8"),
  );
  progress(0.2, "text encoder");
  const transformer = createRowRunner(await open("transformer"), threads);
  const transformer2 =
    boundary === undefined ? undefined : createRowRunner(await open("transformer_2"), threads);
  progress(0.7, "transformer");
  const decoder = await open("vae_decoder");
  const encoder = await open("vae_encoder");
  await loadPictureEncoder(threads);
  progress(1, "decoder");

  /** The expert for a noise level, and how strongly it is guided. */
  const expertAt = (sigma: number, { guidanceScale, guidanceScale2 }: FilmCondition) =>
    transformer2 && boundary !== undefined && sigma < boundary
      ? { expert: transformer2, scale: guidanceScale2 }
      : { expert: transformer, scale: guidanceScale };

  const predict = async (items: readonly StepItem<FilmCondition>[]): Promise<Float32Array[]> => {
    const parts = items.map((item) => ({ ...item, ...expertAt(item.sigma, item.condition) }));
    const velocities = new Array<Float32Array>(items.length);
    for (const expert of new Set(parts.map((part) => part.expert))) {
      const own = parts.flatMap((part, at) => (part.expert === expert ? [{ ...part, at }] : []));
      const made = await guidedVelocities(expert, own.map(guidedItem));
      own.forEach(({ at }, i) => {
        velocities[at] = made[i] as Float32Array;
      });
    }
    return velocities;
  };
  const guidedItem = ({
    latents,
    sigma,
    condition,
    scale,
  }: StepItem<FilmCondition> & { scale: number }): GuidedItem => {
    const [frames, height, width] = condition.shape;
    const joined = new Float32Array(latents.length + condition.given.length);
    joined.set(latents);
    joined.set(condition.given, latents.length);
    return {
      latents: { data: joined, shape: [2 * channels + temporalStride, ...condition.shape] },
      sigma,
      conditions: condition.text,
      guidanceScale: scale,
      shape: { channels: channels * frames, height, width, patch: model.patch },
    };
  };

  const batcher = createStepBatcher({ predict, itemsMax: model.batchMax });

  const decode = (latents: Float32Array, shape: readonly number[]): Promise<Float32Array> =>
    batcher.between(
      async () => (await decoder.run({ latents: { data: latents, shape: [1, channels, ...shape] } })).data,
    );

  /** What was given is known exactly: it takes the place of what the model made of it. */
  const putBack = (
    latents: Float32Array,
    givenLatents: Float32Array,
    [frames, rows, columns]: FilmCondition["shape"],
  ): void => {
    const area = rows * columns;
    for (let frame = 0; frame < frames; frame++) {
      if (givenLatents[frame * area] !== 1) continue;
      for (let c = 0; c < channels; c++) {
        const from = ((temporalStride + c) * frames + frame) * area;
        latents.set(givenLatents.subarray(from, from + area), (c * frames + frame) * area);
      }
    }
  };

  /** Mask and latents of what is given: nothing, or the first frame. */
  const given = async (
    picture: Float32Array | undefined,
    { native }: FilmPlan,
    [frames, rows, columns]: FilmCondition["shape"],
  ) => {
    const area = rows * columns;
    const condition = new Float32Array((temporalStride + channels) * frames * area);
    if (!picture) return condition;
    const shape = [1, 3, 1, native.height, native.width];
    const { data } = await batcher.between(() => encoder.run({ video: { data: picture, shape } }));
    if (data.length !== channels * area)
      throw new Error(
        `The encoder gave ${data.length} numbers for one frame: it does not fit the parameters.`,
      );
    for (let c = 0; c < temporalStride + channels; c++) {
      const to = c * frames * area;
      if (c < temporalStride) condition.fill(1, to, to + area);
      else condition.set(data.subarray((c - temporalStride) * area, (c - temporalStride + 1) * area), to);
    }
    return condition;
  };

  return {
    async run({ input: raw, files, resume }, emit, signal) {
      const startedMs = performance.now();
      const input = parseInput(Input, raw);
      const first = input.image_url === undefined ? undefined : await givenPicture(input.image_url, files);
      const aspect =
        input.aspect_ratio !== "auto" ? input.aspect_ratio : first ? nearestAspect(first.size) : "16:9";
      const interpolated = input.interpolator_model === "none" ? 0 : input.num_interpolated_frames;
      const plan = planFilm(
        {
          frames: input.num_frames,
          fps: input.frames_per_second,
          resolution: input.resolution,
          aspect,
          interpolated,
          adjustFps: input.adjust_fps_for_interpolation,
        },
        model,
      );
      const picture = await first?.fitted(plan.native);
      signal.throwIfAborted();

      const shape = [
        (plan.native.frames - 1) / temporalStride + 1,
        plan.native.height / pixelsPerLatent,
        plan.native.width / pixelsPerLatent,
      ] as const;
      const count = channels * shape[0] * shape[1] * shape[2];
      const kept = resume && keptFilm(resume, count, input.num_inference_steps);
      if (resume && !kept)
        emit.log(
          "WARN",
          "The checkpoint was written by another build of this engine; starting from the beginning.",
        );
      const seed = kept?.seed ?? input.seed ?? randomInt(2 ** 32);
      const prompt = prompts.tokenize(input.prompt);
      for (const { level, message } of [...prompts.remarks(prompt), ...remarks(input, plan)])
        emit.log(level, message);

      const steps = input.num_inference_steps;
      const sigmas = flowMatchSigmas(
        { ...scheduler, use_dynamic_shifting: false, shift: input.shift },
        steps,
        0,
      );
      const condition: FilmCondition = {
        shape,
        given: await given(picture, plan, shape),
        text: await batcher.between(() => prompts.encode([prompt, prompts.tokenize(input.negative_prompt)])),
        guidanceScale: input.guidance_scale,
        guidanceScale2: input.guidance_scale_2,
      };
      const latents = kept?.latents ?? normalNoise(BigInt(seed), count);
      const from = kept?.done ?? 0;
      const denoisingMs = performance.now();
      const preview = createPreviewer(emit, plan.native, channels, shape, decode);
      await batcher.denoise({
        shapeKey: shape.join("x"),
        latents,
        sigmas,
        condition,
        from,
        signal,
        onStep: (done, velocity, sigma) => {
          const elapsedMs = performance.now() - denoisingMs;
          emit.progress(done, steps, Math.round((elapsedMs / (done - from)) * (steps - done)));
          if (done === steps) return undefined;
          emit.checkpoint?.(done, () => ({ values: { seed }, tensors: [latents] }));
          return preview(done, latents, velocity, sigma, elapsedMs / Math.max(1, batcher.inFlight));
        },
      });
      putBack(latents, condition.given, shape);
      const video = await decode(latents, shape);
      mustBeFinite(video);
      signal.throwIfAborted();
      const encodingMs = performance.now();
      const { frames, fps, ...size } = plan.film;
      const bytes = await writeVideo({
        frames: filmFrames(video, plan.native, frames),
        from: plan.native,
        size,
        fps,
        quality: input.video_quality,
        writeMode: input.video_write_mode,
        threads,
        signal,
      });
      signal.throwIfAborted();
      const file = await emit.artifact(
        { contentType: "video/mp4", fileName: `${BigInt(seed)}.mp4`, ...size },
        bytes,
      );
      return { output: { video: file, prompt: input.prompt, seed }, inferenceMs: encodingMs - startedMs };
    },
  };
}

async function givenPicture(value: string, files: RunnerRun["files"]) {
  const file = attachedFile(value, files);
  if (!file)
    throw inputFault(
      "image_url",
      "image_load_error",
      "The image was not fetched; send an http, https or data URL.",
    );
  return readPicture(file.path, "image_url");
}

/** A film as a checkpoint has it; undefined when another build of this engine wrote it. */
function keptFilm({ step, values: { seed }, tensors: [latents] }: RunState, count: number, steps: number) {
  const fits = typeof seed === "number" && latents?.length === count && step <= steps;
  return fits ? { seed, latents, done: step } : undefined;
}

/**
 * Shows what a frame from the middle of the film will be, as far as the velocity tells: the latents without
 * the noise that is left in them. Previews take a twentieth of the run's own time, so that at most one more
 * than that is made.
 */
function createPreviewer(
  emit: RunEmitter,
  native: FilmPlan["native"],
  channels: number,
  [frames, rows, columns]: FilmCondition["shape"],
  decode: (latents: Float32Array, shape: readonly number[]) => Promise<Float32Array>,
) {
  let spentMs = 0;
  let isBusy = false;
  const area = rows * columns;
  const middle = frames >> 1;
  return (
    step: number,
    latents: Float32Array,
    velocity: Float32Array,
    sigma: number,
    ownMs: number,
  ): Promise<void> | undefined => {
    if (!emit.preview || isBusy || spentMs > ownMs / 20) return undefined;
    isBusy = true;
    const sinceMs = performance.now();
    const guess = new Float32Array(channels * area);
    for (let i = 0; i < guess.length; i++) {
      const at = (Math.floor(i / area) * frames + middle) * area + (i % area);
      guess[i] = (latents[at] ?? 0) - sigma * (velocity[at] ?? 0);
    }
    return (async () => {
      try {
        const pixels = await decode(guess, [1, rows, columns]);
        emit.preview?.(step, "image/jpeg", await encodePicture(toRgb(pixels), native, native, "jpeg"));
      } finally {
        isBusy = false;
        spentMs += performance.now() - sinceMs;
      }
    })();
  };
}

/** What the caller should know about how the film is made; nothing is changed silently. */
function remarks(
  input: z.infer<typeof Input>,
  { native, film }: FilmPlan,
): { level: LogLevel; message: string }[] {
  const said: string[] = [];
  if (native.width !== film.width || native.height !== film.height) {
    said.push(`Rendered at ${native.width}x${native.height}, scaled to ${film.width}x${film.height}.`);
  }
  if (native.frames !== input.num_frames) {
    said.push(
      `Rendered ${native.frames} frames; the ${input.num_frames} that were asked for are blended from them over the same motion.`,
    );
  }
  if (film.frames !== input.num_frames) {
    const { interpolator_model: asked, num_interpolated_frames: between } = input;
    const made =
      between === 1 ? "the frame between each pair is" : `the ${between} frames between each pair are`;
    said.push(
      `This model has no interpolator "${asked}": ${made} blended from both. The film has ${film.frames} frames, ${film.fps} a second.`,
    );
  }
  if (input.acceleration === "regular")
    said.push("This model has no accelerated form: every step is computed.");
  if (input.enable_safety_checker || input.enable_output_safety_checker)
    said.push("This model has no safety checker; nothing was checked.");
  return said.map((message) => ({ level: "INFO", message }));
}
