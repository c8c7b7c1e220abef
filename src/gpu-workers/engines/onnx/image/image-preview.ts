/** Previews of a run: images of the result as far as the model can tell it after some step. */
import type { RunEmitter } from "../../../engine-sdk/run-emitter.ts";

/** A preview is due while previews took less than this share of the run's own time. */
const TIME_SHARE_MAX = 1 / 20;

/** The state of a denoising after one step. */
export interface PreviewedStep {
  /** The step as progress counts it. */
  step: number;
  /** The run's own time so far, in milliseconds. */
  runMs: number;
}

/**
 * Shows previews in a twentieth of the run's own time, so that at most one more than that is made, and never
 * two at once.
 */
export class Previewer {
  readonly #emit: Pick<RunEmitter, "preview">;
  readonly #render: (latents: Float32Array) => Promise<Buffer>;
  #spentMs = 0;
  #isBusy = false;

  /** @param render decodes estimated latents and encodes them as a JPEG file */
  constructor(emit: Pick<RunEmitter, "preview">, render: (latents: Float32Array) => Promise<Buffer>) {
    this.#emit = emit;
    this.#render = render;
  }

  /**
   * Shows a preview when one is due and somebody watches; resolves when it was sent.
   *
   * @param estimate called at once, before anything is awaited, and only when a preview is due: the latents
   * without the noise that is left in them
   */
  show({ step, runMs }: PreviewedStep, estimate: () => Float32Array): Promise<void> | undefined {
    if (!this.#emit.preview || this.#isBusy || this.#spentMs > runMs * TIME_SHARE_MAX) return undefined;
    this.#isBusy = true;
    const sinceMs = performance.now();
    return this.#send(step, estimate(), sinceMs);
  }

  async #send(step: number, latents: Float32Array, sinceMs: number): Promise<void> {
    try {
      this.#emit.preview?.(step, "image/jpeg", await this.#render(latents));
    } finally {
      this.#isBusy = false;
      this.#spentMs += performance.now() - sinceMs;
    }
  }
}
