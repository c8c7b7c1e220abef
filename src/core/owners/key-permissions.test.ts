import { describe, expect, it } from "vitest";
import { parseRange } from "../operations/address-policy.ts";
import {
  ADDRESS_RANGE,
  assertCallPermitted,
  assertEndpointPermitted,
  ENDPOINT_PATTERN,
  isEndpointPermitted,
} from "./key-permissions.ts";

describe("a pattern of endpoints", () => {
  it.each(["fal-ai/wan", "fal-ai/wan/v2.2-a14b/text-to-video", "fal-ai/*", "fal-ai/wan/*", "*"])(
    "is %s",
    (pattern) => expect(ENDPOINT_PATTERN.test(pattern)).toBe(true),
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
    "a/b\n",
  ])("is not %j", (pattern) => expect(ENDPOINT_PATTERN.test(pattern)).toBe(false));

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

describe("a range of addresses", () => {
  const ranges = [
    ...["0.0.0.0", "192.0.2.1", "255.249.199.99", "10.0.0.0/8", "10.0.0.1/32", "0.0.0.0/0"],
    ...[
      "::",
      "::1",
      "1::",
      "2001:db8::/32",
      "1:2:3:4:5:6:7:8",
      "1::3:4:5:6:7:8",
      "1:2:3:4:5:6:7::",
      "a::B/128",
    ],
  ];
  it.each(ranges)("is %s", (range) => {
    expect(ADDRESS_RANGE.test(range)).toBe(true);
    expect(parseRange(range)).toBeDefined();
  });
  it.each([
    ...[
      "",
      "all",
      "example.com",
      "10.0.0",
      "010.0.0.1",
      "256.0.0.0",
      "10.0.0.0/33",
      "10.0.0.0/8/8",
      "10.0.0.0/",
    ],
    ...["::/129", ":", "1:2", "1::2::3", "1:2:3:4:5:6:7:8:9", "1:2:3:4::5:6:7:8", "g::"],
    ...["[::1]", "fe80::1%eth0", "::ffff:10.0.0.1", " ::1", "::1\n"],
  ])("is not %j", (text) => expect(ADDRESS_RANGE.test(text)).toBe(false));
});

it("a key without permissions is narrowed by nothing", () => {
  assertEndpointPermitted({}, "a/b");
  assertCallPermitted(undefined, { address: undefined, writes: true });
});

it("the refusal of an endpoint names it, and nothing of the patterns", () =>
  expect(() => assertEndpointPermitted({ permissions: { endpoints: ["secret/plan"] } }, "a/b")).toThrow(
    /^This key may not call a\/b\.$/,
  ));
