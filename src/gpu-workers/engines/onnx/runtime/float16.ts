/**
 * Half precision (IEEE 754 binary16), as the bits of unsigned integers: Node 20 has no `Float16Array`, and
 * ONNX Runtime accepts this form.
 */

/** A 32-bit view of a number, to read its bits. */
const FLOAT = new Float32Array(1);
const BITS = new Uint32Array(FLOAT.buffer);

/**
 * Rounds each number to the nearest half; ties go to the even one, as IEEE 754 rounds. Numbers that are too
 * large become infinite, small ones subnormal or zero; NaN stays NaN.
 */
export function toFloat16(values: Float32Array): Uint16Array {
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) halves[i] = halfOf(values[i] as number);
  return halves;
}

/** Converts halves to float32, exactly: every half is a float32. */
export function fromFloat16(halves: Uint16Array): Float32Array {
  const values = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) values[i] = TABLE[halves[i] as number] as number;
  return values;
}

function halfOf(value: number): number {
  FLOAT[0] = value;
  const bits = BITS[0] as number;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x7f800000) return magnitude > 0x7f800000 ? sign | 0x7e00 : sign | 0x7c00;
  // 65520 and more round to infinity.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) {
    // Normal: rebias the exponent from 127 to 15, then round away 13 bits of the mantissa, half to even.
    const rebiased = magnitude - 0x38000000;
    return sign | ((rebiased + 0xfff + ((rebiased >>> 13) & 1)) >>> 13);
  }
  // Below 2^-25 the result is zero; exactly half of the smallest subnormal rounds to even, which is zero.
  if (magnitude <= 0x33000000) return sign;
  const exponent = magnitude >>> 23;
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const shift = 126 - exponent;
  const kept = mantissa >>> shift;
  const dropped = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (kept + (dropped > half || (dropped === half && (kept & 1) === 1) ? 1 : 0));
}

/** The values of the 65,536 halves. */
const TABLE = Float32Array.from({ length: 65_536 }, (_, bits) => {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
});
