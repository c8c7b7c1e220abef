/**
 * From the magnitudes of a spectrogram to sound: Griffin-Lim's algorithm with Perraudin's momentum ("A fast
 * Griffin-Lim algorithm", WASPAA 2013), on the short-time Fourier transform as torch.stft has it: a Hann
 * window, frame t centred on sample t·hop.
 */
import { createRealFft } from "./fft.ts";
import { normalNoise } from "../sampling/philox.ts";

export interface SpectrogramShape {
  /** Length of the window, a power of two. A column has fft/2 + 1 magnitudes. */
  fft: number;
  /** Samples from one column to the next. */
  hop: number;
}

export interface GriffinLim extends SpectrogramShape {
  /** Of the phases it begins with. */
  seed: bigint;
  iterations?: number;
  /** Asked between two iterations: throws to stop. Awaited, so that the event loop can go on. */
  between?: () => void | Promise<void>;
}

const ITERATIONS = 40;
const MOMENTUM = 0.99;

/**
 * Sound whose spectrogram has these magnitudes, about.
 *
 * @param magnitudes [fft/2 + 1, columns]
 * @returns (columns − 1) · hop samples
 */
export async function griffinLim(
  magnitudes: Float32Array,
  { fft: size, hop, seed, iterations = ITERATIONS, between }: GriffinLim,
): Promise<Float32Array> {
  const bins = size / 2 + 1;
  const columns = magnitudes.length / bins;
  const transform = createShortTimeTransform({ fft: size, hop }, columns);
  // Column by column, as the transform has them.
  const wanted = new Float64Array(magnitudes.length);
  for (let t = 0; t < columns; t++)
    for (let k = 0; k < bins; k++) wanted[t * bins + k] = magnitudes[k * columns + t] as number;

  const [re, im] = [new Float64Array(wanted.length), new Float64Array(wanted.length)];
  const [beforeRe, beforeIm] = [new Float64Array(wanted.length), new Float64Array(wanted.length)];
  const phases = normalNoise(seed, 2 * wanted.length);
  wanted.forEach((magnitude, i) => {
    const [x, y] = [phases[2 * i] as number, phases[2 * i + 1] as number];
    const scale = magnitude / Math.max(1e-9, Math.hypot(x, y));
    re[i] = x * scale;
    im[i] = y * scale;
  });
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

export interface ShortTimeTransform {
  /** Of a signal of `columns` columns. */
  readonly samples: number;
  /** The spectrogram, column by column. Beyond its ends the signal is mirrored. */
  forward(signal: Float64Array, re: Float64Array, im: Float64Array): void;
  /** The signal whose transform is nearest. */
  inverse(re: Float64Array, im: Float64Array, signal: Float64Array): void;
}

export function createShortTimeTransform(
  { fft: size, hop }: SpectrogramShape,
  columns: number,
): ShortTimeTransform {
  const fft = createRealFft(size);
  const bins = size / 2 + 1;
  const samples = (columns - 1) * hop;
  const half = size / 2;
  const window = Float64Array.from(
    { length: size },
    (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size),
  );
  // How much window there is at each sample, squared and summed; divides what the inverse adds up.
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
    const at = ((i % period) + period) % period;
    return at < samples ? at : period - at;
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
