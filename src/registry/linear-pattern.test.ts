import { describe, expect, it } from "vitest";
import { linearPattern, publishedPattern } from "./linear-pattern.ts";
import { createSchemaCheck } from "./schema-check.ts";

describe("a pattern of a model", () => {
  it.each([String.raw`^(\w+\s?)*$`, "^(a+)+$", "^(a|aa)*$", "(x+x+)+y"])(
    "%s is answered for a text on which a backtracking engine would never end",
    (pattern) => {
      const check = createSchemaCheck({ type: "object", properties: { a: { pattern } } }, { every: false });
      expect(check({ a: `${"a".repeat(10_000)}!` })).toMatchObject([{ type: "string_pattern_mismatch" }]);
      expect(check({ a: `${"x".repeat(10_000)}!` })).toHaveLength(1);
    },
  );

  it.each([
    ["^[a-z0-9-]{1,63}$", "a-b-1", "A"],
    [String.raw`^\d{4}-\d{2}$`, "2026-01", "2026-01\n"],
    [String.raw`^\u00e9+$`, "éé", "e"],
    [String.raw`^\p{Lu}`, "Ägypten", "ägypten"],
    ["^(?<year>[0-9]+)/x$", "1/x", "1x"],
    ["^(#[0-9a-fA-F]{6}|auto)$", "#00ffAA", "#00ffA"],
  ])("%s means what it means in JavaScript", (pattern, right, wrong) => {
    for (const text of [right, wrong])
      expect(linearPattern(pattern, "u").test(text)).toBe(new RegExp(pattern, "u").test(text));
    expect(linearPattern(pattern, "u").test(right)).toBe(true);
  });

  it.each(["^(?=a)", "(?<!a)b", String.raw`(a)\1`, "("])("%s is refused", (pattern) => {
    expect(() => linearPattern(pattern, "u")).toThrow("cannot be used");
  });

  it("of a version that was published before runs on", () => {
    expect(publishedPattern("^(?=a)", "u").test("ab")).toBe(true);
  });
});
