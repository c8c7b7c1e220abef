import { describe, expect, it } from "vitest";
import { guide } from "./guidance.ts";

describe("guide", () => {
  const shape = { channels: 1, height: 2, width: 4, patch: 2 };
  // Two tokens: columns 0-1 and columns 2-3.
  const conditional = Float32Array.of(3, 4, 0, 1, 0, 0, 0, 0);
  const unconditional = Float32Array.of(1, 2, 0, 1, 0, 0, 0, 0);

  it("extrapolates from the unconditional prediction", () => {
    expect([...guide(conditional, unconditional, 2.5, "none", shape)]).toEqual([6, 7, 0, 1, 0, 0, 0, 0]);
    expect([...guide(conditional, unconditional, 1, "none", shape)]).toEqual([...conditional]);
  });

  it("gives each token the length of the conditional token", () => {
    const guided = guide(conditional, unconditional, 2.5, "token", shape);
    const factor = 5 / Math.hypot(6, 7);
    expect(guided[0]).toBeCloseTo(6 * factor, 6);
    expect(guided[1]).toBeCloseTo(7 * factor, 6);
    expect(guided[3]).toBeCloseTo(1, 6);
    expect([...guided].every(Number.isFinite)).toBe(true);
  });

  it("counts all channels and rows of a patch as one token", () => {
    const tall = { channels: 2, height: 2, width: 2, patch: 2 };
    const c = Float32Array.of(1, 1, 1, 1, 1, 1, 1, 1);
    const guided = guide(c, new Float32Array(8), 4, "token", tall);
    expect([...guided]).toEqual([...c]);
  });
});
