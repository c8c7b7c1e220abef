import { setImmediate as yieldToEventLoop } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { denoise } from "./denoise.ts";

const sigmas = Float32Array.of(1, 0.5, 0.25, 0);

describe("denoise", () => {
  it("integrates the velocity over all levels and counts the steps", async () => {
    const latents = Float32Array.of(2);
    const steps: number[] = [];
    const levels: number[] = [];
    const predict = async (_: Float32Array, sigma: number) => {
      levels.push(sigma);
      return Float32Array.of(4 * sigma);
    };
    await denoise({ latents, sigmas, predict, onStep: (done) => void steps.push(done), signal: new AbortController().signal });
    expect(levels).toEqual([1, 0.5, 0.25]);
    expect(steps).toEqual([1, 2, 3]);
    expect(latents[0]).toBe(2 - 0.5 * 4 - 0.25 * 2 - 0.25 * 1);
  });

  it("stops between two steps, also when the prediction never leaves the event loop idle", async () => {
    const controller = new AbortController();
    const predict = async () => Float32Array.of(0);
    const steps: number[] = [];
    void yieldToEventLoop().then(() => controller.abort(new Error("enough")));
    const endless = new Float32Array(100_000).fill(1);
    await expect(
      denoise({
        latents: Float32Array.of(0),
        sigmas: endless,
        predict,
        onStep: (done) => void steps.push(done),
        signal: controller.signal,
      }),
    ).rejects.toThrow("enough");
    expect(steps.length).toBeLessThan(10);
  });
});
