/** The fast Fourier transform of real signals whose length is a power of two, for spectrograms. */

/**
 * The transform of one length. Packs even samples as real and odd ones as imaginary parts, so that one
 * complex transform of half the length suffices (Press et al., "Numerical Recipes", §12.3).
 */
export class RealFft {
  /** Samples of a signal. */
  readonly size: number;
  readonly #half: number;
  /** cos and sin of 2πi/size, for i below size/2. */
  readonly #cos: Float64Array;
  readonly #sin: Float64Array;
  /** Bit-reversed indices of the packed signal. */
  readonly #order: Uint32Array;
  /** The packed signal: real and imaginary parts. */
  readonly #a: Float64Array;
  readonly #b: Float64Array;

  /** @param size a power of two from 4 on */
  constructor(size: number) {
    if (!Number.isInteger(Math.log2(size)) || size < 4)
      throw new Error(`The length of a transform is a power of two from 4 on, not ${size}.`);
    const half = size / 2;
    this.size = size;
    this.#half = half;
    this.#cos = Float64Array.from({ length: half }, (_, i) => Math.cos((2 * Math.PI * i) / size));
    this.#sin = Float64Array.from({ length: half }, (_, i) => Math.sin((2 * Math.PI * i) / size));
    this.#order = bitReversed(half);
    [this.#a, this.#b] = [new Float64Array(half), new Float64Array(half)];
  }

  /**
   * Transforms `size` numbers of `signal` to `size/2 + 1` complex numbers: X[k] = Σ x[n]·e^(−2πikn/size).
   */
  forward(signal: Float64Array, re: Float64Array, im: Float64Array): void {
    const [half, a, b, order, cos, sin] = [this.#half, this.#a, this.#b, this.#order, this.#cos, this.#sin];
    for (let i = 0; i < half; i++) {
      const from = 2 * (order[i] as number);
      a[i] = signal[from] as number;
      b[i] = signal[from + 1] as number;
    }
    this.#transform(-1);
    const first = a[0] as number;
    const firstOdd = b[0] as number;
    re[0] = first + firstOdd;
    im[0] = 0;
    re[half] = first - firstOdd;
    im[half] = 0;
    for (let k = 1; k < half; k++) {
      const ak = a[k] as number;
      const bk = b[k] as number;
      const am = a[half - k] as number;
      const bm = b[half - k] as number;
      const oddRe = (bk + bm) / 2;
      const oddIm = (am - ak) / 2;
      const wr = cos[k] as number;
      const wi = -(sin[k] as number);
      re[k] = (ak + am) / 2 + oddRe * wr - oddIm * wi;
      im[k] = (bk - bm) / 2 + oddRe * wi + oddIm * wr;
    }
  }

  /** Reverses `forward`; the imaginary parts of the first and the last number are treated as 0. */
  inverse(re: Float64Array, im: Float64Array, signal: Float64Array): void {
    const [half, a, b, order, cos, sin] = [this.#half, this.#a, this.#b, this.#order, this.#cos, this.#sin];
    for (let i = 0; i < half; i++) {
      const k = order[i] as number;
      const rk = re[k] as number;
      const ik = k === 0 ? 0 : (im[k] as number);
      const rm = re[half - k] as number;
      const jm = k === 0 ? 0 : (im[half - k] as number);
      const diffRe = (rk - rm) / 2;
      const diffIm = (ik + jm) / 2;
      const wr = cos[k] as number;
      const wi = sin[k] as number;
      // even + i·odd, where odd is the difference multiplied by w.
      a[i] = (rk + rm) / 2 - (diffRe * wi + diffIm * wr);
      b[i] = (ik - jm) / 2 + (diffRe * wr - diffIm * wi);
    }
    this.#transform(1);
    for (let i = 0; i < half; i++) {
      signal[2 * i] = (a[i] as number) / half;
      signal[2 * i + 1] = (b[i] as number) / half;
    }
  }

  /**
   * Transforms (a, b), which are in bit-reversed order, in place. Plain local numbers: pairs in arrays take
   * three times as long.
   *
   * @param sign of the exponent
   */
  #transform(sign: 1 | -1): void {
    const [half, a, b, cos, sin] = [this.#half, this.#a, this.#b, this.#cos, this.#sin];
    for (let span = 1; span < half; span *= 2) {
      const stride = half / span;
      for (let i = 0; i < span; i++) {
        const wr = cos[i * stride] as number;
        const wi = sign * (sin[i * stride] as number);
        for (let p = i; p < half; p += 2 * span) {
          const q = p + span;
          const aq = a[q] as number;
          const bq = b[q] as number;
          const tr = aq * wr - bq * wi;
          const ti = aq * wi + bq * wr;
          const ap = a[p] as number;
          const bp = b[p] as number;
          a[q] = ap - tr;
          b[q] = bp - ti;
          a[p] = ap + tr;
          b[p] = bp + ti;
        }
      }
    }
  }
}

/** Gives order[i], which is i with its bits reversed. */
function bitReversed(length: number): Uint32Array {
  const order = new Uint32Array(length);
  for (let i = 0, j = 0; i < length; i++) {
    order[i] = j;
    let bit = length >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
  }
  return order;
}
