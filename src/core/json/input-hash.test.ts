import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { canonicalJson, inputHash } from "./input-hash.ts";

describe("the hash of an input", () => {
  it("ignores the order of fields and respects the order of list items", () => {
    expect(inputHash({ b: [1, 2], a: { d: null, c: "x" } })).toBe(
      inputHash({ a: { c: "x", d: null }, b: [1, 2] }),
    );
    expect(inputHash({ a: 1, b: undefined as never })).toBe(inputHash({ a: 1 }));
    expect(inputHash([1, 2])).not.toBe(inputHash([2, 1]));
  });

  it.each([
    [{}, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"],
    ["", "12ae32cb1ec02d01eda3581b127c1fee3b0dc53572ed6baf239721a03d82e126"],
    [{ prompt: "a ball", seed: 7 }, "853e20ba2683edc0f62675c3b3d8b260248e68259fc0cf5781d062264bc0d672"],
  ] as const)("of %j is the known digest", (value, digest) => {
    expect(inputHash(value)).toBe(digest);
  });

  it.each([0, 1, 53, 54, 55, 56, 61, 62, 63, 64, 65, 117, 118, 119, 120, 1000])(
    "is SHA-256 of the canonical JSON (%i letters)",
    (letters) => {
      const value = { text: "é".repeat(letters % 7) + "x".repeat(letters) };
      expect(inputHash(value)).toBe(createHash("sha256").update(canonicalJson(value)).digest("hex"));
    },
  );
});
