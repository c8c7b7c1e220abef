import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { canonicalJson, inputHash } from "./input-hash.ts";

describe("the hash of an input", () => {
  it("is the same whatever the order of its fields, and another for another order in a list", () => {
    expect(inputHash({ b: [1, 2], a: { d: null, c: "x" } })).toBe(
      inputHash({ a: { c: "x", d: null }, b: [1, 2] }),
    );
    expect(inputHash({ a: 1, b: undefined as never })).toBe(inputHash({ a: 1 }));
    expect(inputHash([1, 2])).not.toBe(inputHash([2, 1]));
  });

  it.each([0, 1, 53, 54, 55, 56, 61, 62, 63, 64, 65, 117, 118, 119, 120, 1000])(
    "is SHA-256 of the canonical JSON (%i letters)",
    (letters) => {
      const value = { text: "é".repeat(letters % 7) + "x".repeat(letters) };
      expect(inputHash(value)).toBe(createHash("sha256").update(canonicalJson(value)).digest("hex"));
    },
  );
});
