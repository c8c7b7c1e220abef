import { describe, expect, it } from "vitest";
import { decodeCheckpoint, encodeCheckpoint, inputDigest } from "./checkpoint.ts";

const owner = { model: "m".repeat(64), input: "i".repeat(64) };
const state = {
  step: 7,
  values: { seed: 5, done: [7, 7] },
  tensors: [Float32Array.of(1, -0, 1e-40), new Float32Array(0), Float32Array.of(3)],
};

describe("a checkpoint", () => {
  it("gives back what was kept, bit for bit, also from an odd place in memory", () => {
    const bytes = encodeCheckpoint(owner, state);
    const shifted = Buffer.concat([Buffer.from("x"), bytes]).subarray(1);
    expect(decodeCheckpoint(shifted, owner)).toEqual(state);
    expect(Object.is(decodeCheckpoint(bytes, owner).tensors[0]?.[1], -0)).toBe(true);
  });

  it("of a view keeps the view's numbers, as they are now", () => {
    const whole = Float32Array.of(1, 2, 3, 4);
    const bytes = encodeCheckpoint(owner, { step: 1, values: {}, tensors: [whole.subarray(1, 3)] });
    whole.fill(9);
    expect(decodeCheckpoint(bytes, owner).tensors).toEqual([Float32Array.of(2, 3)]);
  });

  it("of another model version or input is refused by name", () => {
    const bytes = encodeCheckpoint(owner, state);
    expect(() => decodeCheckpoint(bytes, { ...owner, model: "other" })).toThrow(
      "is of another version of the model",
    );
    expect(() => decodeCheckpoint(bytes, { ...owner, input: "other" })).toThrow("is of another input");
  });

  it("cut short anywhere, or with any byte changed, is refused", () => {
    const bytes = encodeCheckpoint(owner, state);
    for (let length = 0; length < bytes.length; length++)
      expect(() => decodeCheckpoint(bytes.subarray(0, length), owner)).toThrow();
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 0x20;
      let read: unknown;
      try {
        read = decodeCheckpoint(changed, owner);
      } catch {
        continue;
      }
      // The header is JSON: a changed key or value of `values` may still be read, never the numbers.
      expect((read as typeof state).tensors).toEqual(state.tensors);
    }
    expect(() => decodeCheckpoint(Buffer.alloc(0), owner)).toThrow("is not one of this engine");
    expect(() => decodeCheckpoint(Buffer.from("tempera1\xff\xff\xff\xff", "latin1"), owner)).toThrow(
      "cut short",
    );
  });

  it("knows its input by the text and by the files", () => {
    const file = { path: "/a", contentType: "image/png", bytes: 3, sha256: "aa" };
    const digests = [
      inputDigest("{}", []),
      inputDigest('{"a":1}', []),
      inputDigest("{}", [file]),
      inputDigest("{}", [{ ...file, sha256: "bb" }]),
    ];
    expect(new Set(digests).size).toBe(4);
    expect(inputDigest("{}", [{ ...file, path: "/elsewhere" }])).toBe(digests[2]);
  });
});
