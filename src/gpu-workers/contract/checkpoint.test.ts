import { describe, expect, it } from "vitest";
import { decodeCheckpoint, encodeCheckpoint, inputDigest } from "./checkpoint.ts";

const owner = { model: "m".repeat(64), input: "i".repeat(64) };
const state = {
  step: 7,
  values: { seed: 5, done: [7, 7] },
  tensors: [Float32Array.of(1, -0, 1e-40), new Float32Array(0), Float32Array.of(3)],
};

describe("a checkpoint", () => {
  it("decodes to the encoded state, bit for bit, also from an unaligned address", () => {
    const bytes = encodeCheckpoint(owner, state);
    const shifted = Buffer.concat([Buffer.from("x"), bytes]).subarray(1);
    expect(decodeCheckpoint(shifted, owner)).toEqual(state);
    expect(Object.is(decodeCheckpoint(bytes, owner).tensors[0]?.[1], -0)).toBe(true);
  });

  it("copies the numbers of a view", () => {
    const whole = Float32Array.of(1, 2, 3, 4);
    const bytes = encodeCheckpoint(owner, { step: 1, values: {}, tensors: [whole.subarray(1, 3)] });
    whole.fill(9);
    expect(decodeCheckpoint(bytes, owner).tensors).toEqual([Float32Array.of(2, 3)]);
  });

  it("is refused by name when it belongs to another model version or input", () => {
    const bytes = encodeCheckpoint(owner, state);
    expect(() => decodeCheckpoint(bytes, { ...owner, model: "other" })).toThrow(
      "belongs to another version of the model",
    );
    expect(() => decodeCheckpoint(bytes, { ...owner, input: "other" })).toThrow("belongs to another input");
  });

  it("is refused when it is cut short anywhere or any byte is changed", () => {
    const bytes = encodeCheckpoint(owner, state);
    for (let length = 0; length < bytes.length; length++)
      expect(() => decodeCheckpoint(bytes.subarray(0, length), owner)).toThrow();
    for (let index = 0; index < bytes.length; index++) {
      const changed = Buffer.from(bytes);
      changed[index] = (changed[index] ?? 0) ^ 0x20;
      let read: unknown;
      try {
        read = decodeCheckpoint(changed, owner);
      } catch {
        continue;
      }
      // The header is JSON: a changed key or value of `values` may still be read, never the numbers.
      expect((read as typeof state).tensors).toEqual(state.tensors);
    }
    expect(() => decodeCheckpoint(Buffer.alloc(0), owner)).toThrow("was not made by this engine");
    expect(() => decodeCheckpoint(Buffer.from("tempera1\xff\xff\xff\xff", "latin1"), owner)).toThrow(
      "cut short",
    );
  });

  it("identifies its input by the text and by the contents of the files", () => {
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
