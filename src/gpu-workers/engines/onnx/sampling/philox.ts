/**
 * Seeded noise that is the same on every machine: Philox4x32-10, a counter-based generator (Salmon et al.,
 * "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011; torch's CUDA generator is the same function), then
 * Box-Muller. V8 computes log, sin and cos in software (fdlibm), so the floats do not depend on the processor
 * either. No parity with torch is promised.
 */
type Four = [number, number, number, number];

const ROUNDS = 10;
const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;

/** Gives four random 32-bit words for a 128-bit counter and a 64-bit key, both little-endian in words. */
export function philox4x32([c0, c1, c2, c3]: Four, [k0, k1]: [number, number]): Four {
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(M0, c0);
    const high1 = multiplyHigh(M1, c2);
    const low0 = Math.imul(M0, c0);
    const low1 = Math.imul(M1, c2);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1 >>> 0, (high0 ^ c3 ^ k1) >>> 0, low0 >>> 0];
    k0 = (k0 + W0) >>> 0;
    k1 = (k1 + W1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** Gives the upper half of a 32 × 32 bit product, by 16-bit halves since a double holds 53 bits exactly. */
function multiplyHigh(a: number, b: number): number {
  const [aHigh, aLow, bHigh, bLow] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff];
  const middle = aHigh * bLow + Math.floor((aLow * bLow) / 0x10000);
  const carry = aLow * bHigh + (middle % 0x10000);
  return aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000);
}

/**
 * Draws `count` standard normal numbers, float32; element i depends on (seed, i) alone.
 *
 * @param seed any integer, taken modulo 2⁶⁴
 */
export function normalNoise(seed: bigint, count: number): Float32Array {
  const bits = BigInt.asUintN(64, seed);
  const key: [number, number] = [Number(bits & 0xffffffffn), Number(bits >> 32n)];
  const noise = new Float32Array(Math.ceil(count / 4) * 4);
  for (let block = 0; block * 4 < count; block++) {
    const [a, b, c, d] = philox4x32([block, 0, 0, 0], key);
    [noise[block * 4], noise[block * 4 + 1]] = boxMuller(a, b);
    [noise[block * 4 + 2], noise[block * 4 + 3]] = boxMuller(c, d);
  }
  return noise.subarray(0, count);
}

/**
 * Gives two independent normal numbers for two uniform words, 0..2³² − 1. Half a unit is added, so that the
 * logarithm never sees 0.
 */
export function boxMuller(a: number, b: number): [number, number] {
  const radius = Math.sqrt(-2 * Math.log((a + 0.5) / 2 ** 32));
  const angle = (2 * Math.PI * (b + 0.5)) / 2 ** 32;
  return [radius * Math.cos(angle), radius * Math.sin(angle)];
}
