import { describe, expect, it } from "vitest";
import { appOf, isEndpointId, pathSegments, RESERVED_OWNERS } from "./endpoint.ts";

describe("endpoint ids", () => {
  it.each([
    "fal-ai/qwen-image",
    "fal-ai/wan/v2.2-a14b/text-to-video",
    "12345/my-app",
    "workflows/u/n",
    "comfy/u/n/extra",
    "a/requests",
    "A_b.c/D-e",
  ])("accepts %s", (id) => expect(isEndpointId(id)).toBe(true));

  it.each([
    ["nothing", ""],
    ["slashes only", "///"],
    ["an owner alone", "fal-ai"],
    ["a namespace without an app", "workflows/u"],
    ["a parent folder", "fal-ai/../secret"],
    ["this folder", "fal-ai/./x"],
    ["a space", "fal-ai/a b"],
    ["an encoded slash", "fal-ai/a%2Fb"],
    ["a NUL", "fal-ai/a\u0000"],
    ["a line break", "fal-ai/a\n"],
    ["another script", "fal-ai/моdель"],
    ["a segment of 129 characters", `fal-ai/${"a".repeat(129)}`],
    ["13 segments", `${"a/".repeat(12)}a`],
    ['a segment "requests" behind the app', "fal-ai/wan/requests"],
    ['a segment "requests" further in', "fal-ai/wan/requests/x"],
  ])("refuses %s", (_what, id) => expect(isEndpointId(id)).toBe(false));

  it("refuses owners that are named like a route of the server", () => {
    for (const owner of RESERVED_OWNERS) expect(isEndpointId(`${owner}/x`)).toBe(false);
  });

  it("have their app in the first two segments, three with a namespace", () => {
    expect(appOf("fal-ai/wan/v2.2-a14b/text-to-video")).toBe("fal-ai/wan");
    expect(appOf("workflows/u/n/extra/p")).toBe("workflows/u/n");
    expect(appOf("comfy/u/n")).toBe("comfy/u/n");
    expect(appOf("workflows/execute")).toBe("workflows/execute");
    expect(appOf("workflows/execute/stream")).toBe("workflows/execute");
    expect(appOf("comfy/execute/x")).toBe("comfy/execute/x");
  });

  it("may have doubled and trailing slashes", () => expect(pathSegments("//a///b/")).toEqual(["a", "b"]));
});
