import { describe, expect, it } from "vitest";
import { findNearestName } from "./nearest-name.ts";

describe("the nearest name", () => {
  it.each([
    ["promt", ["seed", "prompt", "format"], "prompt"],
    ["PROMPT", ["prompt"], "prompt"],
    ["num_inference_step", ["num_images", "num_inference_steps"], "num_inference_steps"],
    ["imageurl", ["image_url", "image_urls"], "image_url"],
    ["prot", ["host", "port"], "port"],
  ])("of %j among %j is %j", (name, names, nearest) => expect(findNearestName(name, names)).toBe(nearest));

  it.each([
    ["text", ["prompt", "seed"]],
    ["w", ["h", "x"]],
    ["", ["id"]],
    ["anything", []],
    [`prompt${"x".repeat(200)}`, [`prompt${"x".repeat(200)}`]],
  ])("of %j among %j is none", (name, names) => expect(findNearestName(name, names)).toBeUndefined());
});
