import { describe, expect, it } from "vitest";
import {
  type FilmAsked,
  type FilmModel,
  filmFrames,
  filmSize,
  nearestAspect,
  planFilm,
} from "./video-plan.ts";

const model: FilmModel = {
  nativeSizes: [
    { width: 112, height: 64 },
    { width: 64, height: 112 },
    { width: 64, height: 64 },
  ],
  framesMin: 17,
  framesMax: 81,
  temporalStride: 4,
};
const asked: FilmAsked = {
  frames: 81,
  fps: 16,
  resolution: "720p",
  aspect: "16:9",
  interpolated: 0,
  adjustFps: true,
};

describe("planFilm", () => {
  it("makes what was asked for", () => {
    expect(planFilm(asked, model)).toEqual({
      native: { width: 112, height: 64, frames: 81 },
      film: { width: 1280, height: 720, frames: 81, fps: 16 },
    });
    expect(planFilm({ ...asked, aspect: "9:16", resolution: "480p" }, model)).toMatchObject({
      native: { width: 64, height: 112 },
      film: { width: 480, height: 854 },
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
  ])("%i frames are made of %i rendered ones", (frames, rendered) => {
    const plan = planFilm({ ...asked, frames }, model);
    expect([plan.native.frames, plan.film.frames]).toEqual([rendered, frames]);
  });

  it("renders no more than the model can where its largest number is no native one", () => {
    expect(planFilm({ ...asked, frames: 161 }, { ...model, framesMax: 80 }).native.frames).toBe(77);
  });

  it("counts interpolated frames as fal does: between each pair, and as many times the rate, unless the rate is to stay", () => {
    expect(planFilm({ ...asked, interpolated: 1 }, model).film).toMatchObject({ frames: 161, fps: 32 });
    expect(planFilm({ ...asked, frames: 17, interpolated: 4, adjustFps: false }, model).film).toMatchObject({
      frames: 81,
      fps: 16,
    });
  });
});

describe("filmSize", () => {
  it("has the number as its shorter side, in even numbers", () => {
    const sizes = (["480p", "580p", "720p"] as const).flatMap((p) =>
      (["16:9", "9:16", "1:1"] as const).map((aspect) => filmSize(p, aspect)),
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

describe("filmFrames", () => {
  /** Two pixels, `T` frames, whose brightness rises from -1 to 1. */
  const rising = (count: number) =>
    Float32Array.from(
      { length: 3 * count * 2 },
      (_, i) => (2 * (Math.floor(i / 2) % count)) / Math.max(1, count - 1) - 1,
    );
  const made = (rendered: number, frames: number) =>
    [...filmFrames(rising(rendered), { width: 2, height: 1 }, frames)].map((picture) => [...picture]);

  it("takes rendered frames as they are, and blends those between them", () => {
    expect(made(3, 3)).toEqual([0, 128, 255].map((value) => Array(6).fill(value)));
    expect(made(3, 5).map(([value]) => value)).toEqual([0, 64, 128, 191, 255]);
    expect(made(21, 18)).toHaveLength(18);
    expect(made(21, 18).at(-1)).toEqual(Array(6).fill(255));
    expect(made(1, 1)).toHaveLength(1);
  });

  it("holds what is out of range at its ends", () => {
    const [picture] = filmFrames(Float32Array.of(-3, 3, 0.5), { width: 1, height: 1 }, 1);
    expect([...(picture ?? [])]).toEqual([0, 255, 191]);
  });
});
