import { describe, expect, it } from "vitest";
import { drawScene, type SceneToDraw } from "./scene-drawing.ts";
import { judgeScene } from "./scene-judge.ts";
import { judgeVideo, type RgbVideo, structuralSimilarity } from "./video-judge.ts";

const scene: SceneToDraw = {
  width: 112,
  height: 64,
  background: "blue",
  color: "yellow",
  shape: "heart",
  x: 56,
  y: 32,
  radius: 12,
};

/** Draws a shape that moves from one position to another in 17 frames. */
const videoOf = (
  from: Partial<SceneToDraw>,
  to: Partial<SceneToDraw>,
  change: Partial<SceneToDraw> = {},
): RgbVideo => {
  const [start, end] = [
    { ...scene, ...change, ...from },
    { ...scene, ...change, ...to },
  ];
  const frames = Array.from({ length: 17 }, (_, i) => {
    const at = (key: "x" | "y" | "radius") => start[key] + ((end[key] - start[key]) * i) / 16;
    return drawScene({ ...start, x: at("x"), y: at("y"), radius: at("radius") }).data;
  });
  return { width: start.width, height: start.height, frames };
};

describe("drawScene", () => {
  it("draws scenes that the image judge recognises", () => {
    for (const shape of ["circle", "square", "triangle", "ring", "heart", "cross"] as const) {
      const image = drawScene({ ...scene, width: 128, height: 128, x: 64, y: 64, radius: 36, shape });
      expect(judgeScene(image)).toMatchObject({ background: "blue", color: "yellow", shape });
    }
    expect(judgeScene(drawScene({ ...scene, isVisible: false })).color).toBeUndefined();
  });
});

describe("judgeVideo", () => {
  it.each([
    ["left", { x: 90 }, { x: 20 }],
    ["right", { x: 20 }, { x: 90 }],
    ["up", { y: 50 }, { y: 14 }],
    ["down", { y: 14 }, { y: 50 }],
  ] as const)("recognises a shape that moves %s", (motion, from, to) => {
    expect(judgeVideo(videoOf(from, to))).toEqual({ background: "blue", color: "yellow", motion });
  });

  it("recognises a shape that stays or grows, and an empty video", () => {
    expect(judgeVideo(videoOf({}, {}))).toEqual({ background: "blue", color: "yellow" });
    expect(judgeVideo(videoOf({ radius: 6 }, { radius: 18 }))).toEqual({
      background: "blue",
      color: "yellow",
    });
    expect(judgeVideo(videoOf({ isVisible: false }, {}))).toEqual({ background: "blue" });
  });

  it("reports the larger direction, and distinguishes similar colours", () => {
    expect(
      judgeVideo(videoOf({ x: 20, y: 36 }, { x: 90, y: 28 }, { background: "purple", color: "blue" })),
    ).toEqual({
      background: "purple",
      color: "blue",
      motion: "right",
    });
    expect(judgeVideo(videoOf({ x: 60 }, { x: 20 }, { background: "white", color: "pink" })).motion).toBe(
      "left",
    );
  });
});

describe("structuralSimilarity", () => {
  const image = drawScene(scene);
  it("is 1 for equal images and falls with every difference", () => {
    expect(structuralSimilarity(image, image)).toBeCloseTo(1, 12);
    const near = structuralSimilarity(image, drawScene({ ...scene, x: 57 }));
    const far = structuralSimilarity(image, drawScene({ ...scene, x: 80 }));
    expect(near).toBeGreaterThan(0.9);
    expect(far).toBeLessThan(near);
    expect(
      structuralSimilarity(image, drawScene({ ...scene, background: "white", color: "black", x: 20 })),
    ).toBeLessThan(0.8);
  });
  it("has the value of its formula for two plain images", () => {
    const [dark, light] = ["black", "white"].map((background) =>
      drawScene({ ...scene, background: background as "black", isVisible: false }),
    ) as [typeof image, typeof image];
    const [a, b] = [(0.299 * 20 + 0.587 * 20 + 0.114 * 24) / 255, 245 / 255];
    expect(structuralSimilarity(dark, light)).toBeCloseTo((2 * a * b + 1e-4) / (a * a + b * b + 1e-4), 6);
  });
});
