import { describe, expect, it } from "vitest";
import { boxMuller, normalNoise, philox4x32 } from "./philox.ts";

describe("philox4x32-10", () => {
  // The known-answer vectors of Random123 (tests/kat_vectors, "philox4x32 10").
  it.each([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ] as [[number, number, number, number], [number, number], number[]][])(
    "counter %j key %j",
    (counter, key, expected) => {
      expect(philox4x32(counter, key)).toEqual(expected);
    },
  );
});

describe("boxMuller", () => {
  it("maps u = (1/2, 1/4 + ε) to radius √(2 ln 2) on the upper axis", () => {
    const [x, y] = boxMuller(2 ** 31 - 0.5, 2 ** 30 - 0.5);
    expect(x).toBeCloseTo(0, 12);
    expect(y).toBeCloseTo(Math.sqrt(2 * Math.LN2), 12);
  });
  it("is finite at both ends", () => {
    for (const a of [0, 2 ** 32 - 1]) expect(boxMuller(a, 0).every(Number.isFinite)).toBe(true);
  });
});

describe("normalNoise", () => {
  it("has mean 0, variance 1, and kurtosis 3", () => {
    const n = 200_000;
    const noise = normalNoise(42n, n);
    const moment = (power: number) => noise.reduce((sum, x) => sum + x ** power, 0) / n;
    expect(moment(1)).toBeCloseTo(0, 2);
    expect(moment(2)).toBeCloseTo(1, 1);
    expect(moment(4)).toBeCloseTo(3, 0);
  });
  it("depends on the seed, and not on how many are drawn", () => {
    expect([...normalNoise(5n, 7)]).toEqual([...normalNoise(5n, 100).subarray(0, 7)]);
    expect(normalNoise(5n, 4)).not.toEqual(normalNoise(6n, 4));
    expect(normalNoise(2n ** 40n, 4)).not.toEqual(normalNoise(0n, 4));
    expect(normalNoise(-1n, 4)).toEqual(normalNoise(2n ** 64n - 1n, 4));
  });
});
