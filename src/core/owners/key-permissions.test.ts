import { describe, expect, it } from "vitest";
import {
  assertCallPermitted,
  assertEndpointPermitted,
  isAddressRange,
  isEndpointPattern,
  isEndpointPermitted,
} from "./key-permissions.ts";

describe("a pattern of endpoints", () => {
  it.each(["fal-ai/wan", "fal-ai/wan/v2.2-a14b/text-to-video", "fal-ai/*", "fal-ai/wan/*", "*"])(
    "is %s",
    (pattern) => expect(isEndpointPattern(pattern)).toBe(true),
  );
  it.each([
    "",
    "fal-ai",
    "/fal-ai/wan",
    "fal-ai/wan/",
    "fal-ai/w*",
    "*/wan",
    "fal-ai//wan",
    "a/**",
    "a/b c",
    "é/b",
  ])("is not %j", (pattern) => expect(isEndpointPattern(pattern)).toBe(false));

  it.each([
    ["fal-ai/wan/*", "fal-ai/wan/v2", true],
    ["fal-ai/wan/*", "fal-ai/wan/v2/text-to-video", true],
    ["fal-ai/wan/*", "fal-ai/wan", false],
    ["fal-ai/wan/*", "fal-ai/wan-extra/v2", false],
    ["fal-ai/wan", "fal-ai/wan", true],
    ["fal-ai/wan", "fal-ai/wan/v2", false],
    ["fal-ai/wan", "FAL-AI/wan", false],
    ["fal-ai/*", "fal-ai2/wan", false],
    ["*", "workflows/execute", true],
  ])("%s and %s: %s", (pattern, endpoint, expected) =>
    expect(isEndpointPermitted({ endpoints: [pattern] }, endpoint)).toBe(expected),
  );
});

it.each(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1"])("%s is a range of addresses", (range) =>
  expect(isAddressRange(range)).toBe(true),
);
it.each(["10.0.0.0/33", "10.0.0", "example.com", "10.0.0.0/8/8", "", "all", "::/129"])(
  "%j is no range of addresses",
  (range) => expect(isAddressRange(range)).toBe(false),
);

it("a key without permissions is narrowed by nothing", () => {
  assertEndpointPermitted({}, "a/b");
  assertCallPermitted(undefined, { address: undefined, writes: true });
});

it("the refusal of an endpoint names it, and nothing of the patterns", () =>
  expect(() => assertEndpointPermitted({ permissions: { endpoints: ["secret/plan"] } }, "a/b")).toThrow(
    /^This key may not call a\/b\.$/,
  ));
