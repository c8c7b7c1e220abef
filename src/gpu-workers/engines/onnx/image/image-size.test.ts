import { describe, expect, it } from "vitest";
import { IMAGE_SIZE_PRESETS, type ImageSize, nativeSizeFor } from "./image-size.ts";

const native: [ImageSize, ...ImageSize[]] = [
  { width: 256, height: 256 },
  { width: 288, height: 224 },
  { width: 224, height: 288 },
  { width: 352, height: 192 },
  { width: 192, height: 352 },
];

describe("nativeSizeFor", () => {
  it.each([
    ["square_hd", 256, 256],
    ["square", 256, 256],
    ["portrait_4_3", 224, 288],
    ["portrait_16_9", 192, 352],
    ["landscape_4_3", 288, 224],
    ["landscape_16_9", 352, 192],
  ])("renders %s at %ix%i", (preset, width, height) => {
    expect(nativeSizeFor(IMAGE_SIZE_PRESETS[preset] ?? { width: 0, height: 0 }, native)).toEqual({
      width,
      height,
    });
  });
  it("chooses the longest shape for strips, and the exact one when it exists", () => {
    expect(nativeSizeFor({ width: 4096, height: 64 }, native)).toEqual({ width: 352, height: 192 });
    expect(nativeSizeFor({ width: 64, height: 4096 }, native)).toEqual({ width: 192, height: 352 });
    expect(nativeSizeFor({ width: 224, height: 288 }, native)).toEqual({ width: 224, height: 288 });
  });
});
