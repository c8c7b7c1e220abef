/**
 * The runner `video_to_audio`: audio that follows a clip, by flow matching over audio latents conditioned on
 * the images that are visible at each of them, as MMAudio does it; called with fal's input for
 * `fal-ai/mmaudio-v2`. The result is the clip's video with that audio.
 *
 * The model folder (each network as `model.onnx`; B batch, L tokens, D width, A audio latents with one image
 * for each, C latent channels, S the side of an image):
 *
 * | file | takes | gives |
 * |---|---|---|
 * | tokenizer/tokenizer.json | text | ids; its special tokens are named [PAD], [UNK], [EOS] |
 * | text_encoder/model.onnx | input_ids, attention_mask int64 [B,L] | hidden_states [B,L,D] |
 * | visual_encoder/model.onnx | frames [B,3,A,S,S], -1..1: the clip at `latentsPerSecond`, squashed to squares | visual_states [B,A,D] |
 * | transformer/model.onnx | latents [B,C,A], timestep [B] = 1000·σ, visual_states (all 0: no video), encoder_hidden_states, encoder_attention_mask | velocity [B,C,A], noise − data |
 * | vae_decoder/model.onnx | latents [B,C,A] of unit variance | spectrogram [B, fft/2+1, columns], ln(magnitude + `logFloor`) |
 * | scheduler/scheduler_config.json | | FlowMatchEulerDiscreteScheduler |
 */
import { setImmediate as yieldToEventLoop } from "node:timers/promises";
import { z } from "zod";
import { attachedFile } from "../../../../core/files/input-file.ts";
import type { RunEmitter } from "../../../engine-sdk/run-emitter.ts";
import type { RunnerLoad, RunnerRun } from "../../../engine-sdk/runner.ts";
import { addAudio, type ClipWithAudio } from "../media/add-audio.ts";
import { type ClipFacts, measureClip } from "../media/measure-clip.ts";
import { unsupportedVideo } from "../media/open-clip.ts";
import { sampleClip } from "../media/sample-clip.ts";
import {
  type LoadedModel,
  type LoadProgress,
  logRemarks,
  type Remark,
  type RunResult,
} from "../runtime/loaded-model.ts";
import { type ModelComponents, openComponents } from "../runtime/model-components.ts";
import { parseInput, parseParameters, Seed, TextTokensMax, Threads } from "../runtime/model-schemas.ts";
import { createRowRunner, type NetworkRow, type RowPass } from "../runtime/network-rows.ts";
import type { OnnxSession } from "../runtime/onnx-session.ts";
import type { PromptTokens } from "../runtime/prompt-tokens.ts";
import { beginSample, denoiseSample } from "../sampling/denoise-sample.ts";
import { assertFinite } from "../sampling/finite.ts";
import { flowMatchSigmas } from "../sampling/flow-match-euler.ts";
import { guidedVelocities } from "../sampling/guided-pass.ts";
import { StepBatcher, type StepItem } from "../sampling/step-batcher.ts";
import { griffinLim } from "./griffin-lim.ts";

/** The field of the input that names the clip. */
const CLIP_FIELD = "video_url";

/** `parameters:` of the manifest. */
const Parameters = z.object({
  threads: Threads,
  /** Samples per second. */
  sampleRate: z.int().min(8000).max(48_000),
  /** Window of the spectrogram in samples, a power of two. */
  fft: z.int().min(16).max(8192),
  /** Samples from one column of the spectrogram to the next. */
  hop: z.int().positive(),
  /** Audio latents per second, and images of the clip per second that the model sees. */
  latentsPerSecond: z.number().positive(),
  latentChannels: z.int().positive(),
  /** Side of an image as the visual encoder sees it, in pixels. */
  visualSide: z.int().min(4).max(1024),
  textTokensMax: TextTokensMax,
  /** The longest audio of one generation, in seconds. */
  secondsMax: z.number().positive(),
  /** Added to a magnitude before its logarithm. */
  logFloor: z.number().min(0),
  /** The most audio tracks that share a step. */
  batchMax: z.int().min(1).max(64).default(4),
});
type Parameters = z.infer<typeof Parameters>;

/** The fields of fal's input. The model's schema has checked them and filled in the defaults. */
const Input = z.object({
  video_url: z.string(),
  prompt: z.string(),
  negative_prompt: z.string(),
  seed: Seed,
  num_steps: z.int().min(1).max(1000),
  duration: z.number().gt(0).max(600),
  cfg_strength: z.number().min(0),
  mask_away_clip: z.boolean(),
});
type Input = z.infer<typeof Input>;

/** The video and the text that an audio track follows. */
interface AudioCondition {
  /** Audio latents, A. */
  length: number;
  /**
   * The transformer's inputs but the latents: with video and prompt, then with the negative prompt and no
   * video.
   */
  rows: [NetworkRow, NetworkRow];
  guidanceScale: number;
}

interface AudioNetworks extends ModelComponents {
  visualEncoder: OnnxSession;
  transformer: RowPass;
  decoder: OnnxSession;
}

/** The clip of a run, as far as it is used. */
interface UsedClip {
  path: string;
  facts: ClipFacts;
  /** The length that is used. */
  seconds: number;
}

export async function loadVideoToAudio(
  { folder, parameters: raw }: RunnerLoad,
  progress: LoadProgress,
): Promise<LoadedModel> {
  const parameters = parseParameters(Parameters, raw);
  const components = await openComponents(folder, parameters, progress);
  const visualEncoder = await components.openNetwork("visual_encoder");
  progress(0.4, "visual encoder");
  const transformer = createRowRunner(await components.openNetwork("transformer"), parameters.threads);
  const decoder = await components.openNetwork("vae_decoder");
  progress(1, "decoder");
  return new VideoToAudioModel(parameters, { ...components, visualEncoder, transformer, decoder });
}

class VideoToAudioModel implements LoadedModel {
  readonly #parameters: Parameters;
  readonly #networks: AudioNetworks;
  readonly #batcher: StepBatcher<AudioCondition>;

  constructor(parameters: Parameters, networks: AudioNetworks) {
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
    const { prompts, scheduler } = this.#networks;
    const { latentsPerSecond, latentChannels } = this.#parameters;
    const input = parseInput(Input, raw);
    const steps = input.num_steps;
    const clip = await this.#measureClip(input, files, signal);
    const length = Math.max(1, Math.ceil(clip.seconds * latentsPerSecond));
    const visualStates = await this.#encodeClip(clip.path, length, signal);
    const count = latentChannels * length;
    const sample = beginSample({ resume, emit, count, steps, seed: input.seed, seedsMax: 2 ** 16 });
    const prompt = prompts.tokenize(input.prompt);
    logRemarks(emit, [...prompts.remarks(prompt), ...remarks(input, clip)]);

    const condition = await this.#condition(input, prompt, visualStates, length);
    await denoiseSample(this.#batcher, {
      sample,
      sigmas: flowMatchSigmas(scheduler, steps, length),
      condition,
      shapeKey: String(length),
      emit,
      signal,
    });
    const samples = await this.#decode(sample.latents, length, BigInt(sample.seed), clip, signal);
    const video = await this.#addAudio(clip, samples, signal);
    signal.throwIfAborted();
    if (!video.isCopied) emit.log("INFO", "The video was encoded again as H.264.");
    const inferenceMs = performance.now() - startedMs;
    const { width, height } = video;
    const file = { contentType: "video/mp4", fileName: `${BigInt(sample.seed)}.mp4`, width, height };
    return { output: { video: await emit.artifact(file, video.bytes) }, inferenceMs };
  }

  async #measureClip(input: Input, files: RunnerRun["files"], signal: AbortSignal): Promise<UsedClip> {
    const file = attachedFile(input.video_url, files);
    if (!file)
      throw unsupportedVideo(
        CLIP_FIELD,
        "The video was not fetched: the address is not an http, https or data URL",
      );
    const secondsMax = Math.min(input.duration, this.#parameters.secondsMax);
    const facts = await measureClip(file.path, CLIP_FIELD, secondsMax, signal);
    return { path: file.path, facts, seconds: Math.min(secondsMax, facts.seconds) };
  }

  /** Encodes the images of a clip: float32 [A, D]. */
  async #encodeClip(path: string, length: number, signal: AbortSignal): Promise<Float32Array> {
    const { latentsPerSecond: rate, visualSide: side, threads } = this.#parameters;
    const frames = await sampleClip(path, CLIP_FIELD, { rate, count: length, side, threads, signal });
    const feed = { data: frames, shape: [1, 3, length, side, side] };
    const { data } = await this.#batcher.between(() => this.#networks.visualEncoder.run({ frames: feed }));
    return data;
  }

  async #condition(
    input: Input,
    prompt: PromptTokens,
    visualStates: Float32Array,
    length: number,
  ): Promise<AudioCondition> {
    const { prompts } = this.#networks;
    const [text, negative] = await this.#batcher.between(() =>
      prompts.encode([prompt, prompts.tokenize(input.negative_prompt)]),
    );
    const shape = [length, visualStates.length / length];
    const noVideo = { data: new Float32Array(visualStates.length), shape };
    return {
      length,
      rows: [
        { visual_states: input.mask_away_clip ? noVideo : { data: visualStates, shape }, ...text },
        { visual_states: noVideo, ...negative },
      ],
      guidanceScale: input.cfg_strength,
    };
  }

  #predict(items: readonly StepItem<AudioCondition>[]): Promise<Float32Array[]> {
    const { latentChannels: channels } = this.#parameters;
    return guidedVelocities(
      this.#networks.transformer,
      items.map(({ latents, sigma, condition: { length, rows, guidanceScale } }) => ({
        latents: { data: latents, shape: [channels, length] },
        sigma,
        conditions: rows,
        guidanceScale,
        shape: { channels, height: 1, width: length, patch: 1 },
      })),
    );
  }

  /** Decodes latents [C, A] to samples, -1..1, exactly as many as the clip's length needs. */
  async #decode(
    latents: Float32Array,
    length: number,
    seed: bigint,
    { seconds }: UsedClip,
    signal: AbortSignal,
  ): Promise<Float32Array> {
    const { latentChannels, sampleRate, fft, hop } = this.#parameters;
    const feed = { data: latents, shape: [1, latentChannels, length] };
    const { data: spectrogram } = await this.#batcher.between(() =>
      this.#networks.decoder.run({ latents: feed }),
    );
    const magnitudes = this.#magnitudesOf(spectrogram);
    assertFinite(magnitudes);
    const between = async () => {
      await yieldToEventLoop();
      signal.throwIfAborted();
    };
    const signalSamples = await griffinLim(magnitudes, { fft, hop, seed, between });
    const count = Math.round(seconds * sampleRate);
    const samples = new Float32Array(count);
    samples.set(signalSamples.subarray(0, count));
    return samples.map((value) => Math.max(-1, Math.min(1, value)));
  }

  /**
   * Converts the decoder's log magnitudes to magnitudes, [fft/2 + 1, columns + 1]: the last column is
   * repeated, since n columns reach over n − 1 hops.
   *
   * @param spectrogram [fft/2 + 1, columns], ln(magnitude + `logFloor`)
   */
  #magnitudesOf(spectrogram: Float32Array): Float32Array {
    const { fft, logFloor } = this.#parameters;
    const bins = fft / 2 + 1;
    if (spectrogram.length % bins !== 0)
      throw new Error(`The decoder gave ${spectrogram.length} numbers: no spectrogram of ${bins} rows.`);
    const columns = spectrogram.length / bins;
    const magnitudes = new Float32Array(bins * (columns + 1));
    for (let k = 0; k < bins; k++) {
      for (let t = 0; t <= columns; t++) {
        const log = spectrogram[k * columns + Math.min(t, columns - 1)] ?? 0;
        magnitudes[k * (columns + 1) + t] = Math.max(0, Math.exp(log) - logFloor);
      }
    }
    return magnitudes;
  }

  #addAudio(
    { path, facts, seconds }: UsedClip,
    samples: Float32Array,
    signal: AbortSignal,
  ): Promise<ClipWithAudio> {
    const { sampleRate, threads } = this.#parameters;
    return addAudio({
      path,
      field: CLIP_FIELD,
      seconds,
      isCut: facts.isLonger,
      hidesFrames: facts.hidesFrames,
      samples,
      sampleRate,
      threads,
      signal,
    });
  }
}

/** Tells the caller how the clip was used. */
function remarks(
  { duration, mask_away_clip: isMasked }: Input,
  { facts: { seconds: clipSeconds, isLonger }, seconds }: UsedClip,
): Remark[] {
  const messages: string[] = [];
  if (isLonger) messages.push(`The clip is longer than ${seconds} s; its beginning is used.`);
  else if (clipSeconds < duration - 0.05)
    messages.push(
      `The clip lasts ${clipSeconds.toFixed(2)} s, less than the requested ${duration} s; ` +
        "the audio ends with it.",
    );
  if (isMasked) messages.push("The audio follows the prompt alone, as requested.");
  return messages.map((message) => ({ level: "INFO", message }));
}
