import { describe, expect, it } from "vitest";
import { createShortTimeTransform, griffinLim } from "./griffin-lim.ts";

const RATE = 16_000;

function magnitudesOf(signal: Float64Array, fft: number, hop: number): Float32Array {
  const columns = signal.length / hop + 1;
  const bins = fft / 2 + 1;
  const [re, im] = [new Float64Array(bins * columns), new Float64Array(bins * columns)];
  createShortTimeTransform({ fft, hop }, columns).forward(signal, re, im);
  const magnitudes = new Float32Array(bins * columns);
  for (let t = 0; t < columns; t++)
    for (let k = 0; k < bins; k++)
      magnitudes[k * columns + t] = Math.hypot(re[t * bins + k] ?? 0, im[t * bins + k] ?? 0);
  return magnitudes;
}

describe("createShortTimeTransform", () => {
  it("reverses to the signal", () => {
    const signal = Float64Array.from(
      { length: 40 * 128 },
      (_, i) => Math.sin(i * 0.1) + 0.2 * Math.sin(i * i * 0.001),
    );
    const columns = signal.length / 128 + 1;
    const [re, im, back] = [
      new Float64Array(257 * columns),
      new Float64Array(257 * columns),
      new Float64Array(signal.length),
    ];
    const transform = createShortTimeTransform({ fft: 512, hop: 128 }, columns);
    transform.forward(signal, re, im);
    transform.inverse(re, im, back);
    expect(Math.max(...back.map((value, i) => Math.abs(value - (signal[i] ?? 0))))).toBeLessThan(1e-9);
  });

  it("puts a tone's energy in the tone's row", () => {
    const magnitudes = magnitudesOf(
      Float64Array.from({ length: 8 * 256 }, (_, i) => Math.sin((2 * Math.PI * 1000 * i) / RATE)),
      512,
      256,
    );
    const column = Array.from({ length: 257 }, (_, k) => magnitudes[k * 9 + 4] ?? 0);
    expect(column.indexOf(Math.max(...column))).toBe(32); // 1000 Hz / (16000 / 512)
  });
});

describe("griffinLim", () => {
  it("makes audio of given magnitudes: a tone from half a second on, a click at a quarter", async () => {
    const signal = Float64Array.from({ length: RATE }, (_, i) => {
      const tone = i >= RATE / 2 ? 0.4 * Math.sin((2 * Math.PI * 440 * i) / RATE) : 0;
      const since = i - RATE / 4;
      return tone + (since >= 0 ? 0.8 * Math.sin(i * i * 0.7) * Math.exp(-since / 200) : 0);
    });
    const magnitudes = magnitudesOf(signal, 512, 128);
    const made = await griffinLim(magnitudes, { fft: 512, hop: 128, seed: 3n });
    expect(made.length).toBe(signal.length);
    const found = magnitudesOf(Float64Array.from(made), 512, 128);
    const total = Math.sqrt(magnitudes.reduce((sum, value) => sum + value ** 2, 0));
    const off = Math.sqrt(magnitudes.reduce((sum, value, i) => sum + (value - (found[i] ?? 0)) ** 2, 0));
    // Spectral convergence: 0 is exact; random phases without an iteration give about 0.7.
    expect(off / total).toBeLessThan(0.15);
    const loudness = (from: number, to: number) =>
      Math.sqrt(made.subarray(from, to).reduce((sum, value) => sum + value ** 2, 0) / (to - from));
    expect(loudness(0, 3700)).toBeLessThan(0.01);
    expect(loudness(4000, 4300)).toBeGreaterThan(0.15);
    expect(loudness(9000, 15000)).toBeCloseTo(0.4 / Math.SQRT2, 1);
  });

  it("gives silence for silence, equal results for equal seeds, and stops on request", async () => {
    expect(
      Math.max(
        ...(await griffinLim(new Float32Array(257 * 9), { fft: 512, hop: 256, seed: 1n, iterations: 2 })),
      ),
    ).toBe(0);
    const some = Float32Array.from({ length: 257 * 9 }, (_, i) => (i % 97) / 97);
    const make = (seed: bigint) => griffinLim(some, { fft: 512, hop: 256, seed, iterations: 4 });
    expect(await make(1n)).toEqual(await make(1n));
    expect(await make(2n)).not.toEqual(await make(1n));
    const stop = () => {
      throw new Error("stop");
    };
    await expect(griffinLim(some, { fft: 512, hop: 256, seed: 1n, between: stop })).rejects.toThrow("stop");
  });
});
