/**
 * The denoising of a run that makes one thing, a video or an audio track, from noise or from a checkpoint.
 */
import { randomInt } from "node:crypto";
import type { RunState } from "../../../contract/checkpoint.ts";
import type { RunEmitter } from "../../../engine-sdk/run-emitter.ts";
import { isSeed } from "../runtime/model-schemas.ts";
import { restoreState, startProgress } from "./denoise-report.ts";
import { normalNoise } from "./philox.ts";
import type { StepBatcher } from "./step-batcher.ts";

/** Latents on their way from noise to data. */
export interface Sample {
  /** The seed of the noise, as the output names it. */
  seed: number | bigint;
  latents: Float32Array;
  /** Steps that are done. */
  done: number;
}

export interface SampleOptions {
  resume: RunState | undefined;
  emit: Pick<RunEmitter, "log">;
  /** Numbers of the latents. */
  count: number;
  steps: number;
  /** The input's seed, if it names one. */
  seed: number | bigint | null | undefined;
  /** A seed that is drawn is below this. */
  seedsMax: number;
}

/** Takes the sample from a checkpoint that fits; else makes noise of the given seed, or of one it draws. */
export function beginSample({ resume, emit, count, steps, seed, seedsMax }: SampleOptions): Sample {
  const restored = restoreState(resume, (state) => readSample(state, count, steps), emit);
  if (restored) return restored;
  const drawn = seed ?? randomInt(seedsMax);
  return { seed: drawn, latents: normalNoise(BigInt(drawn), count), done: 0 };
}

function readSample({ step, values: { seed }, tensors: [latents] }: RunState, count: number, steps: number) {
  const fits = isSeed(seed) && latents?.length === count && step <= steps;
  return fits ? { seed, latents, done: step } : undefined;
}

export interface SampleDenoising<Condition> {
  sample: Sample;
  /** `steps + 1` noise levels, the last one 0. */
  sigmas: Float32Array;
  condition: Condition;
  /** Samples of one key may share a pass of the network. */
  shapeKey: string;
  emit: RunEmitter;
  signal: AbortSignal;
  /**
   * Shows a preview after each step but the last; it may be awaited.
   *
   * @param runMs the run's own time so far: other samples in flight have their share of the device
   */
  preview?: (step: number, velocity: Float32Array, sigma: number, runMs: number) => Promise<void> | undefined;
}

/** Denoises a sample in place; reports progress after each step and offers the state for a checkpoint. */
export async function denoiseSample<Condition>(
  batcher: StepBatcher<Condition>,
  { sample, sigmas, condition, shapeKey, emit, signal, preview }: SampleDenoising<Condition>,
): Promise<void> {
  const { seed, latents, done: stepsBefore } = sample;
  const steps = sigmas.length - 1;
  const report = startProgress(emit, { steps, stepsBefore });
  await batcher.denoise({
    shapeKey,
    latents,
    sigmas,
    condition,
    from: stepsBefore,
    signal,
    onStep: (done, velocity, sigma) => {
      const elapsedMs = report(done);
      if (done === steps) return undefined;
      emit.checkpoint?.(done, () => ({ values: { seed }, tensors: [latents] }));
      return preview?.(done, velocity, sigma, elapsedMs / Math.max(1, batcher.inFlight));
    },
  });
}
