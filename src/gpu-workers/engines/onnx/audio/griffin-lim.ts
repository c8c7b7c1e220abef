/**
 * Reconstructs audio from the magnitudes of a spectrogram: Griffin-Lim's algorithm with Perraudin's momentum
 * ("A fast Griffin-Lim algorithm", WASPAA 2013), on the short-time Fourier transform as torch.stft defines
 * it: a Hann window, frame t centred on sample t·hop.
 */

import { normalNoise } from "../sampling/philox.ts";
import { RealFft } from "./fft.ts";

export interface SpectrogramShape {
  /** Length of the window in samples, a power of two. A column has fft/2 + 1 magnitudes. */
  fft: number;
  /** Samples from one column to the next. */
  hop: number;
}

export interface GriffinLim extends SpectrogramShape {
  /** Seed of the initial phases. */
  seed: bigint;
  iterations?: number;
  /** Called and awaited between two iterations, so that the event loop can go on; throws to stop. */
  between?: () => void | Promise<void>;
}

const ITERATIONS = 40;
const MOMENTUM = 0.99;

/**
 * Makes audio whose spectrogram has about these magnitudes.
 *
 * @param magnitudes float32 [fft/2 + 1, columns]
 * @returns (columns − 1) · hop samples
 */
export async function griffinLim(
  magnitudes: Float32Array,
  { fft: size, hop, seed, iterations = ITERATIONS, between }: GriffinLim,
): Promise<Float32Array> {
  const bins = size / 2 + 1;
  const columns = magnitudes.length / bins;
  const transform = createShortTimeTransform({ fft: size, hop }, columns);
  // Column by column, as the transform orders them.
  const wanted = new Float64Array(magnitudes.length);
  for (let t = 0; t < columns; t++)
    for (let k = 0; k < bins; k++) wanted[t * bins + k] = magnitudes[k * columns + t] as number;

  const [re, im] = withRandomPhases(wanted, seed);
  const [beforeRe, beforeIm] = [new Float64Array(wanted.length), new Float64Array(wanted.length)];
  const signal = new Float64Array(transform.samples);
  for (let iteration = 0; iteration < iterations; iteration++) {
    await between?.();
    transform.inverse(re, im, signal);
    transform.forward(signal, re, im);
    for (let i = 0; i < wanted.length; i++) {
      const nowRe = re[i] as number;
      const nowIm = im[i] as number;
      const x = nowRe + MOMENTUM * (nowRe - (beforeRe[i] as number));
      const y = nowIm + MOMENTUM * (nowIm - (beforeIm[i] as number));
      beforeRe[i] = nowRe;
      beforeIm[i] = nowIm;
      const scale = (wanted[i] as number) / (Math.sqrt(x * x + y * y) + 1e-12);
      re[i] = x * scale;
      im[i] = y * scale;
    }
  }
  transform.inverse(re, im, signal);
  return Float32Array.from(signal);
}

/** Gives complex numbers of these magnitudes, their phases drawn from the seed. */
function withRandomPhases(magnitudes: Float64Array, seed: bigint): [re: Float64Array, im: Float64Array] {
  const [re, im] = [new Float64Array(magnitudes.length), new Float64Array(magnitudes.length)];
  const phases = normalNoise(seed, 2 * magnitudes.length);
  magnitudes.forEach((magnitude, i) => {
    const [x, y] = [phases[2 * i] as number, phases[2 * i + 1] as number];
    const scale = magnitude / Math.max(1e-9, Math.hypot(x, y));
    re[i] = x * scale;
    im[i] = y * scale;
  });
  return [re, im];
}

export interface ShortTimeTransform {
  /** Samples of a signal that has `columns` columns. */
  readonly samples: number;
  /** Gives the spectrogram, column by column. Beyond its ends the signal is mirrored. */
  forward(signal: Float64Array, re: Float64Array, im: Float64Array): void;
  /** Gives the signal whose transform is nearest. */
  inverse(re: Float64Array, im: Float64Array, signal: Float64Array): void;
}

export function createShortTimeTransform(
  { fft: size, hop }: SpectrogramShape,
  columns: number,
): ShortTimeTransform {
  const fft = new RealFft(size);
  const bins = size / 2 + 1;
  const samples = (columns - 1) * hop;
  const half = size / 2;
  const window = Float64Array.from(
    { length: size },
    (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size),
  );
  // The sum of the squared windows at each sample: divides the sum that the inverse adds up.
  const weight = new Float64Array(samples + size);
  for (let t = 0; t < columns; t++) {
    for (let i = 0; i < size; i++)
      weight[t * hop + i] = (weight[t * hop + i] as number) + (window[i] as number) ** 2;
  }
  const padded = new Float64Array(samples + size);
  const frame = new Float64Array(size);
  const mirrored = (i: number): number => {
    if (samples === 1) return 0;
    const period = 2 * (samples - 1);
    const position = ((i % period) + period) % period;
    return position < samples ? position : period - position;
  };
  return {
    samples,
    forward(signal, re, im) {
      padded.set(signal, half);
      for (let i = 0; i < half; i++) {
        padded[i] = signal[mirrored(i - half)] as number;
        padded[half + samples + i] = signal[mirrored(samples + i)] as number;
      }
      for (let t = 0; t < columns; t++) {
        for (let i = 0; i < size; i++) frame[i] = (padded[t * hop + i] as number) * (window[i] as number);
        fft.forward(frame, re.subarray(t * bins, (t + 1) * bins), im.subarray(t * bins, (t + 1) * bins));
      }
    },
    inverse(re, im, signal) {
      padded.fill(0);
      for (let t = 0; t < columns; t++) {
        fft.inverse(re.subarray(t * bins, (t + 1) * bins), im.subarray(t * bins, (t + 1) * bins), frame);
        for (let i = 0; i < size; i++)
          padded[t * hop + i] =
            (padded[t * hop + i] as number) + (frame[i] as number) * (window[i] as number);
      }
      for (let i = 0; i < samples; i++)
        signal[i] = (padded[half + i] as number) / Math.max(1e-8, weight[half + i] as number);
    },
  };
}
