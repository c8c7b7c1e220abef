/** The denoising loop, alone: everything that must happen between two steps happens here. */
import { setImmediate as yieldToEventLoop } from "node:timers/promises";
import { eulerStep } from "./flow-match-euler.ts";

export interface Denoising {
  /** Noise at σ = 1; holds the picture's latents afterwards. */
  latents: Float32Array;
  /** `steps + 1` noise levels, the last one 0. */
  sigmas: Float32Array;
  /** The (guided) velocity at a noise level. May block the event loop, as onnxruntime-node does. */
  predict: (latents: Float32Array, sigma: number) => Promise<Float32Array>;
  /** Called after each step with how many are done, the velocity it took and the noise level it has reached. Awaited. */
  onStep: (done: number, velocity: Float32Array, sigma: number) => void | Promise<void>;
  signal: AbortSignal;
}

/**
 * Walks `latents` from noise to data, in place.
 *
 * Before each step it lets the event loop run once, so that a cancel that has arrived on the socket is seen, and health
 * and progress get through. Rejects with the signal's reason when it was aborted.
 */
export async function denoise({ latents, sigmas, predict, onStep, signal }: Denoising): Promise<void> {
  for (let i = 0; i + 1 < sigmas.length; i++) {
    await yieldToEventLoop();
    signal.throwIfAborted();
    const [sigma, next] = [sigmas[i] ?? 0, sigmas[i + 1] ?? 0];
    const velocity = await predict(latents, sigma);
    eulerStep(latents, velocity, sigma, next);
    await onStep(i + 1, velocity, next);
  }
}
