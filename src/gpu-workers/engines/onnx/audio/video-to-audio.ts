/**
 * The runner `video_to_audio`: sound that follows a clip, by flow matching over audio latents conditioned on
 * what is seen at each of them, as MMAudio does it; called with fal's input for `fal-ai/mmaudio-v2`. Answers
 * the clip's picture with that sound.
 *
 * The model folder (each network as `model.onnx`; A audio latents, one picture for each; C channels; D wide):
 *
 * | file | takes | gives |
 * |---|---|---|
 * | tokenizer/tokenizer.json | text | ids; names [PAD], [UNK], [EOS] so |
 * | text_encoder/model.onnx | input_ids, attention_mask int64 [B,L] | hidden_states [B,L,D] |
 * | visual_encoder/model.onnx | frames [B,3,A,S,S], -1..1: the clip at `latentsPerSecond`, squashed | visual_states [B,A,D] |
 * | transformer/model.onnx | latents [B,C,A], timestep [B] = 1000·σ, visual_states (all 0: no picture), encoder_hidden_states, encoder_attention_mask | velocity [B,C,A], noise − data |
 * | vae_decoder/model.onnx | latents [B,C,A] of unit variance | spectrogram [B, fft/2+1, columns], ln(magnitude + `logFloor`) |
 * | scheduler/scheduler_config.json | | FlowMatchEulerDiscreteScheduler |
 */
import { randomInt } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as yieldToEventLoop } from "node:timers/promises";
import { z } from "zod";
import type { LogLevel } from "../../../../core/requests/events.ts";
import { attachedFile } from "../../../../core/files/input-file.ts";
import type { JsonObject } from "../../../../core/json/json.ts";
import type { RunState } from "../../../contract/checkpoint.ts";
import type { RunnerLoad, RunnerRun } from "../../../engine-sdk/engine-server.ts";
import type { RunEmitter } from "../../../engine-sdk/run-emitter.ts";
import { addSound } from "../media/add-audio.ts";
import { mustBeFinite } from "../sampling/finite.ts";
import { flowMatchSigmas, parseSchedulerConfig } from "../sampling/flow-match-euler.ts";
import { griffinLim } from "./griffin-lim.ts";
import { guidedVelocities } from "../sampling/guided-pass.ts";
import { type ClipFacts, measureClip } from "../media/measure-clip.ts";
import { parseInput, parseParameters } from "../runtime/parse-model.ts";
import { createRowRunner, type NetworkRow } from "../runtime/network-rows.ts";
import { openOnnxSession } from "../runtime/onnx-session.ts";
import { unsupported } from "../media/open-clip.ts";
import { normalNoise } from "../sampling/philox.ts";
import { openPromptStates } from "../runtime/prompt-embeddings.ts";
import { sampleClip } from "../media/sample-clip.ts";
import { createStepBatcher, type StepItem } from "../sampling/step-batcher.ts";

/** `parameters:` of the manifest. */
const Parameters = z.object({
  /** CPU threads of each network. Fixed, so that the same seed gives the same bytes. */
  threads: z.int().min(1).max(64).default(2),
  /** Samples a second. */
  sampleRate: z.int().min(8000).max(48_000),
  /** Window of the spectrogram, a power of two, and samples from one column to the next. */
  fft: z.int().min(16).max(8192),
  hop: z.int().positive(),
  /** Audio latents, and pictures that are looked at, a second. */
  latentsPerSecond: z.number().positive(),
  latentChannels: z.int().positive(),
  /** Side of a picture as the visual encoder sees it, in pixels. */
  visualSide: z.int().min(4).max(1024),
  /** Tokens of a prompt, special ones included. */
  textTokensMax: z.int().min(2),
  /** The longest sound of one generation. */
  secondsMax: z.number().positive(),
  /** Added to a magnitude before its logarithm. */
  logFloor: z.number().min(0),
  /** Sounds that share a step, at most. */
  batchMax: z.int().min(1).max(64).default(4),
});

/** The fields of fal's input. The model's schema has checked them and filled in the defaults. */
const Input = z.object({
  video_url: z.string(),
  prompt: z.string(),
  negative_prompt: z.string(),
  seed: z.number().refine(Number.isInteger, "Input should be a valid integer").nullish(),
  num_steps: z.int().min(1).max(1000),
  duration: z.number().gt(0).max(600),
  cfg_strength: z.number().min(0),
  mask_away_clip: z.boolean(),
});

export interface VideoToAudio {
  run(
    run: RunnerRun,
    emit: RunEmitter,
    signal: AbortSignal,
  ): Promise<{ output: JsonObject; inferenceMs: number }>;
}

/** What a sound is to follow. */
interface SoundCondition {
  /** Audio latents. */
  length: number;
  /**
   * With picture and prompt, then with the negative prompt and no picture: the transformer's inputs but the
   * latents.
   */
  rows: [NetworkRow, NetworkRow];
  strength: number;
}

export async function loadVideoToAudio(
  { folder, parameters }: RunnerLoad,
  progress: (fraction: number, says: string) => void,
): Promise<VideoToAudio> {
  const model = parseParameters(Parameters, parameters);
  const { threads, latentChannels: channels, sampleRate, latentsPerSecond, visualSide: side } = model;
  const open = (name: string) => openOnnxSession(join(folder, name, "model.onnx"), threads);
  const prompts = await openPromptStates(folder, { threads, tokensMax: model.textTokensMax });
  const scheduler = parseSchedulerConfig(
    await readFile(join(folder, "scheduler", "scheduler_config.json"), "utf8"),
  );
  progress(0.2, "text encoder");
  const visualEncoder = await open("visual_encoder");
  progress(0.4, "visual encoder");
  const transformer = createRowRunner(await open("transformer"), threads);
  const decoder = await open("vae_decoder");
  progress(1, "decoder");

  const predict = (items: readonly StepItem<SoundCondition>[]): Promise<Float32Array[]> =>
    guidedVelocities(
      transformer,
      items.map(({ latents, sigma, condition: { length, rows, strength } }) => ({
        latents: { data: latents, shape: [channels, length] },
        sigma,
        conditions: rows,
        guidanceScale: strength,
        shape: { channels, height: 1, width: length, patch: 1 },
      })),
    );
  const batcher = createStepBatcher({ predict, itemsMax: model.batchMax });

  /** [A, D] of the clip's pictures. */
  const look = async (path: string, length: number, signal: AbortSignal): Promise<Float32Array> => {
    const frames = await sampleClip(path, "video_url", {
      rate: latentsPerSecond,
      count: length,
      side,
      threads,
      signal,
    });
    const shape = [1, 3, length, side, side];
    return (await batcher.between(() => visualEncoder.run({ frames: { data: frames, shape } }))).data;
  };

  return {
    async run({ input: raw, files, resume }, emit, signal) {
      const startedMs = performance.now();
      const input = parseInput(Input, raw);
      const file = attachedFile(input.video_url, files);
      if (!file)
        throw unsupported(
          "video_url",
          "The video was not fetched: the address is no http, https or data URL",
        );
      const asked = Math.min(input.duration, model.secondsMax);
      const facts = await measureClip(file.path, "video_url", asked, signal);
      const seconds = Math.min(asked, facts.seconds);
      const length = Math.max(1, Math.ceil(seconds * latentsPerSecond));
      const seen = await look(file.path, length, signal);
      const kept = resume && keptSound(resume, channels * length, input.num_steps);
      if (resume && !kept)
        emit.log(
          "WARN",
          "The checkpoint was written by another build of this engine; starting from the beginning.",
        );
      const seed = kept?.seed ?? input.seed ?? randomInt(2 ** 16);
      const prompt = prompts.tokenize(input.prompt);
      for (const { level, message } of [...prompts.remarks(prompt), ...remarks(input, facts, seconds)])
        emit.log(level, message);

      const [text, negative] = await batcher.between(() =>
        prompts.encode([prompt, prompts.tokenize(input.negative_prompt)]),
      );
      const shape = [length, seen.length / length];
      const nothing = { data: new Float32Array(seen.length), shape };
      const condition: SoundCondition = {
        length,
        rows: [
          { visual_states: input.mask_away_clip ? nothing : { data: seen, shape }, ...text },
          { visual_states: nothing, ...negative },
        ],
        strength: input.cfg_strength,
      };
      const steps = input.num_steps;
      const latents = kept?.latents ?? normalNoise(BigInt(seed), channels * length);
      const from = kept?.done ?? 0;
      const denoisingMs = performance.now();
      await batcher.denoise({
        shapeKey: String(length),
        latents,
        sigmas: flowMatchSigmas(scheduler, steps, length),
        condition,
        from,
        signal,
        onStep: (done) => {
          const elapsedMs = performance.now() - denoisingMs;
          emit.progress(done, steps, Math.round((elapsedMs / (done - from)) * (steps - done)));
          if (done < steps) emit.checkpoint?.(done, () => ({ values: { seed }, tensors: [latents] }));
        },
      });
      const { data: spectrogram } = await batcher.between(() =>
        decoder.run({ latents: { data: latents, shape: [1, channels, length] } }),
      );
      const samples = await soundOf(spectrogram, BigInt(seed), Math.round(seconds * sampleRate), signal);
      const made = await addSound({
        path: file.path,
        field: "video_url",
        seconds,
        isCut: facts.isLonger,
        hidesFrames: facts.hidesFrames,
        samples,
        sampleRate,
        threads,
        signal,
      });
      signal.throwIfAborted();
      if (!made.isCopied) emit.log("INFO", "The picture was encoded again as H.264.");
      const inferenceMs = performance.now() - startedMs;
      const { width, height } = made;
      const video = await emit.artifact(
        { contentType: "video/mp4", fileName: `${BigInt(seed)}.mp4`, width, height },
        made.bytes,
      );
      return { output: { video }, inferenceMs };
    },
  };

  /** Exactly `count` samples of the sound of a spectrogram. */
  async function soundOf(
    spectrogram: Float32Array,
    seed: bigint,
    count: number,
    signal: AbortSignal,
  ): Promise<Float32Array> {
    const bins = model.fft / 2 + 1;
    if (spectrogram.length % bins !== 0)
      throw new Error(`The decoder gave ${spectrogram.length} numbers: no spectrogram of ${bins} rows.`);
    const columns = spectrogram.length / bins;
    // One column more than the latents make, the last one again: n columns reach over n − 1 hops.
    const magnitudes = new Float32Array(bins * (columns + 1));
    for (let k = 0; k < bins; k++) {
      for (let t = 0; t <= columns; t++) {
        const log = spectrogram[k * columns + Math.min(t, columns - 1)] ?? 0;
        magnitudes[k * (columns + 1) + t] = Math.max(0, Math.exp(log) - model.logFloor);
      }
    }
    mustBeFinite(magnitudes);
    const between = async () => {
      await yieldToEventLoop();
      signal.throwIfAborted();
    };
    const made = await griffinLim(magnitudes, { fft: model.fft, hop: model.hop, seed, between });
    const samples = new Float32Array(count);
    samples.set(made.subarray(0, count));
    return samples.map((value) => Math.max(-1, Math.min(1, value)));
  }
}

/** A sound as a checkpoint has it; undefined when another build of this engine wrote it. */
function keptSound({ step, values: { seed }, tensors: [latents] }: RunState, count: number, steps: number) {
  const fits = typeof seed === "number" && latents?.length === count && step <= steps;
  return fits ? { seed, latents, done: step } : undefined;
}

/** What the caller should know about how the clip was taken. */
function remarks(
  { duration, mask_away_clip: isMasked }: z.infer<typeof Input>,
  { seconds: lasts, isLonger }: ClipFacts,
  seconds: number,
): { level: LogLevel; message: string }[] {
  const said: string[] = [];
  if (isLonger) said.push(`The clip is longer than ${seconds} s; its beginning is used.`);
  else if (lasts < duration - 0.05)
    said.push(
      `The clip lasts ${lasts.toFixed(2)} s, less than the ${duration} s asked for; the sound ends with it.`,
    );
  if (isMasked) said.push("The sound follows the prompt alone, as asked for.");
  return said.map((message) => ({ level: "INFO", message }));
}
