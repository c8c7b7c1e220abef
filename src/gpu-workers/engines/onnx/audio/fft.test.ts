import { describe, expect, it } from "vitest";
import { RealFft } from "./fft.ts";

const noise = (length: number): Float64Array =>
  Float64Array.from({ length }, (_, i) => Math.sin(i * i * 0.37) + 0.3 * Math.cos(i * 1.7));

/** The transform by its definition. */
function directTransform(signal: Float64Array): { re: number[]; im: number[] } {
  const bins = Array.from({ length: signal.length / 2 + 1 }, (_, k) => k);
  const sum = (k: number, wave: (angle: number) => number) =>
    signal.reduce((all, x, n) => all + x * wave((-2 * Math.PI * k * n) / signal.length), 0);
  return { re: bins.map((k) => sum(k, Math.cos)), im: bins.map((k) => sum(k, Math.sin)) };
}

describe("RealFft", () => {
  it.each([4, 8, 16, 64, 512])("equals the direct transform, length %i", (size) => {
    const signal = noise(size);
    const [re, im] = [new Float64Array(size / 2 + 1), new Float64Array(size / 2 + 1)];
    new RealFft(size).forward(signal, re, im);
    const direct = directTransform(signal);
    re.forEach((value, k) => {
      expect(value).toBeCloseTo(direct.re[k] as number, 9);
      expect(im[k]).toBeCloseTo(direct.im[k] as number, 9);
    });
  });

  it.each([4, 32, 1024])("reverses to the signal, length %i", (size) => {
    const fft = new RealFft(size);
    const signal = noise(size);
    const [re, im, back] = [
      new Float64Array(size / 2 + 1),
      new Float64Array(size / 2 + 1),
      new Float64Array(size),
    ];
    fft.forward(signal, re, im);
    fft.inverse(re, im, back);
    back.forEach((value, i) => {
      expect(value).toBeCloseTo(signal[i] as number, 10);
    });
  });

  it.each([0, 2, 12, 500])("refuses a length of %i", (size) => {
    expect(() => new RealFft(size)).toThrow(/power of two/);
  });
});
