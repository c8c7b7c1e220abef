import { describe, expect, it } from "vitest";
import { fromFloat16, toFloat16 } from "./float16.ts";

const bits = (value: number) => toFloat16(Float32Array.of(value))[0];

describe("half precision", () => {
  it("converts each of the 65,536 halves to float32 and back without loss", () => {
    const all = Uint16Array.from({ length: 65_536 }, (_, i) => i);
    const values = fromFloat16(all);
    const back = toFloat16(values);
    for (let i = 0; i < all.length; i++) {
      if (Number.isNaN(values[i])) expect((back[i] as number) & 0x7fff).toBe(0x7e00);
      else expect(back[i]).toBe(i);
    }
  });

  it("converts the values that the standard names", () => {
    const known: [number, number][] = [
      [0x0000, 0],
      [0x0001, 2 ** -24],
      [0x03ff, (1023 / 1024) * 2 ** -14],
      [0x0400, 2 ** -14],
      [0x3555, 0.333251953125],
      [0x3c00, 1],
      [0x3c01, 1.0009765625],
      [0xc000, -2],
      [0x7bff, 65_504],
      [0x7c00, Number.POSITIVE_INFINITY],
      [0xfc00, Number.NEGATIVE_INFINITY],
    ];
    for (const [half, value] of known) {
      expect(fromFloat16(Uint16Array.of(half))[0]).toBe(value);
      expect(bits(value)).toBe(half);
    }
    expect(bits(-0)).toBe(0x8000);
    expect(Object.is(fromFloat16(Uint16Array.of(0x8000))[0], -0)).toBe(true);
    expect(bits(Number.NaN)).toBe(0x7e00);
  });

  it("rounds to the nearest, ties to even, also between subnormals and at the top", () => {
    expect(bits(1 + 2 ** -11)).toBe(0x3c00);
    expect(bits(1 + 3 * 2 ** -11)).toBe(0x3c02);
    expect(bits(1 + 2 ** -11 + 2 ** -20)).toBe(0x3c01);
    expect(bits(65_519)).toBe(0x7bff);
    expect(bits(65_520)).toBe(0x7c00);
    expect(bits(-1e30)).toBe(0xfc00);
    expect(bits(2 ** -25)).toBe(0);
    expect(bits(2 ** -25 * 1.001)).toBe(1);
    expect(bits(3 * 2 ** -25)).toBe(2);
    expect(bits(-(2 ** -24) * 2.5)).toBe(0x8002);
    expect(bits(2 ** -14 - 2 ** -26)).toBe(0x0400);
  });

  it("agrees with a search for the nearest half, for numbers of every size", () => {
    const halves = fromFloat16(Uint16Array.from({ length: 0x7c00 }, (_, i) => i)); // finite, rising
    let state = 1;
    const random = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
    for (let i = 0; i < 20_000; i++) {
      const value = Math.fround(random() * 2 ** (random() * 44 - 27));
      if (value > 65_504) continue;
      const got = fromFloat16(toFloat16(Float32Array.of(value)))[0] as number;
      let low = 0;
      let high = halves.length - 1;
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if ((halves[middle] as number) <= value) low = middle;
        else high = middle;
      }
      const nearest = Math.min(value - (halves[low] as number), (halves[high] as number) - value);
      expect(Math.abs(got - value)).toBe(Math.abs(nearest));
    }
  });
});
