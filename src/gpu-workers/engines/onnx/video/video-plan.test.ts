import { describe, expect, it } from "vitest";
import {
  nearestAspect,
  planVideo,
  resampleFrames,
  type VideoCapabilities,
  type VideoRequest,
  videoSize,
} from "./video-plan.ts";

const model: VideoCapabilities = {
  nativeSizes: [
    { width: 112, height: 64 },
    { width: 64, height: 112 },
    { width: 64, height: 64 },
  ],
  framesMin: 17,
  framesMax: 81,
  temporalStride: 4,
};
const request: VideoRequest = {
  frames: 81,
  fps: 16,
  resolution: "720p",
  aspect: "16:9",
  framesBetween: 0,
  adjustFps: true,
};

describe("planVideo", () => {
  it("plans the requested size and length", () => {
    expect(planVideo(request, model)).toEqual({
      native: { width: 112, height: 64, frames: 81 },
      output: { width: 1280, height: 720, frames: 81, fps: 16 },
    });
    expect(planVideo({ ...request, aspect: "9:16", resolution: "480p" }, model)).toMatchObject({
      native: { width: 64, height: 112 },
      output: { width: 480, height: 854 },
    });
  });

  it.each([
    [17, 17],
    [18, 21],
    [21, 21],
    [80, 81],
    [81, 81],
    [161, 81],
    [5, 17],
  ])("makes %i frames of %i rendered ones", (frames, rendered) => {
    const plan = planVideo({ ...request, frames }, model);
    expect([plan.native.frames, plan.output.frames]).toEqual([rendered, frames]);
  });

  it("renders no more than the model can where its maximum is not a native length", () => {
    expect(planVideo({ ...request, frames: 161 }, { ...model, framesMax: 80 }).native.frames).toBe(77);
  });

  it("counts interpolated frames as fal does: between each pair, at a higher rate unless that is off", () => {
    expect(planVideo({ ...request, framesBetween: 1 }, model).output).toMatchObject({ frames: 161, fps: 32 });
    expect(
      planVideo({ ...request, frames: 17, framesBetween: 4, adjustFps: false }, model).output,
    ).toMatchObject({
      frames: 81,
      fps: 16,
    });
  });
});

describe("videoSize", () => {
  it("uses the number as the shorter side, in even numbers", () => {
    const sizes = (["480p", "580p", "720p"] as const).flatMap((p) =>
      (["16:9", "9:16", "1:1"] as const).map((aspect) => videoSize(p, aspect)),
    );
    expect(sizes.map(({ width, height }) => `${width}x${height}`)).toEqual(
      "854x480 480x854 480x480 1032x580 580x1032 580x580 1280x720 720x1280 720x720".split(" "),
    );
  });
});

describe("nearestAspect", () => {
  it.each([
    [1920, 1080, "16:9"],
    [1024, 800, "1:1"],
    [1080, 1920, "9:16"],
    [100, 110, "1:1"],
    [3000, 100, "16:9"],
  ])("%ix%i is nearest to %s", (width, height, name) => {
    expect(nearestAspect({ width, height })).toBe(name);
  });
});

describe("resampleFrames", () => {
  /** Makes two pixels in `count` frames, whose brightness rises from -1 to 1. */
  const rising = (count: number) =>
    Float32Array.from(
      { length: 3 * count * 2 },
      (_, i) => (2 * (Math.floor(i / 2) % count)) / Math.max(1, count - 1) - 1,
    );
  const resample = (rendered: number, frames: number) =>
    [...resampleFrames(rising(rendered), { width: 2, height: 1 }, frames)].map((image) => [...image]);

  it("copies rendered frames, and blends those between them", () => {
    expect(resample(3, 3)).toEqual([0, 128, 255].map((value) => Array(6).fill(value)));
    expect(resample(3, 5).map(([value]) => value)).toEqual([0, 64, 128, 191, 255]);
    expect(resample(21, 18)).toHaveLength(18);
    expect(resample(21, 18).at(-1)).toEqual(Array(6).fill(255));
    expect(resample(1, 1)).toHaveLength(1);
  });

  it("clamps values that are out of range", () => {
    const [image] = resampleFrames(Float32Array.of(-3, 3, 0.5), { width: 1, height: 1 }, 1);
    expect([...(image ?? [])]).toEqual([0, 255, 191]);
  });
});
