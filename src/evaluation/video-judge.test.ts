import { describe, expect, it } from "vitest";
import { type Film, judgeFilm, structuralSimilarity } from "./video-judge.ts";
import { drawScene, type SceneToDraw } from "./scene-drawing.ts";
import { judgeScene } from "./scene-judge.ts";

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

/** From one place to another in 17 frames. */
const film = (
  from: Partial<SceneToDraw>,
  to: Partial<SceneToDraw>,
  change: Partial<SceneToDraw> = {},
): Film => {
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
  it("draws what the judge of pictures sees", () => {
    for (const shape of ["circle", "square", "triangle", "ring", "heart", "cross"] as const) {
      const picture = drawScene({ ...scene, width: 128, height: 128, x: 64, y: 64, radius: 36, shape });
      expect(judgeScene(picture)).toMatchObject({ background: "blue", color: "yellow", shape });
    }
    expect(judgeScene(drawScene({ ...scene, isVisible: false })).color).toBeUndefined();
  });
});

describe("judgeFilm", () => {
  it.each([
    ["left", { x: 90 }, { x: 20 }],
    ["right", { x: 20 }, { x: 90 }],
    ["up", { y: 50 }, { y: 14 }],
    ["down", { y: 14 }, { y: 50 }],
  ] as const)("sees that it moves %s", (motion, from, to) => {
    expect(judgeFilm(film(from, to))).toEqual({ background: "blue", color: "yellow", motion });
  });

  it("sees that it stays, grows, or is not there", () => {
    expect(judgeFilm(film({}, {}))).toEqual({ background: "blue", color: "yellow" });
    expect(judgeFilm(film({ radius: 6 }, { radius: 18 }))).toEqual({ background: "blue", color: "yellow" });
    expect(judgeFilm(film({ isVisible: false }, {}))).toEqual({ background: "blue" });
  });

  it("lets the larger direction count, and takes colours that lie near one another apart", () => {
    expect(
      judgeFilm(film({ x: 20, y: 36 }, { x: 90, y: 28 }, { background: "purple", color: "blue" })),
    ).toEqual({
      background: "purple",
      color: "blue",
      motion: "right",
    });
    expect(judgeFilm(film({ x: 60 }, { x: 20 }, { background: "white", color: "pink" })).motion).toBe("left");
  });
});

describe("structuralSimilarity", () => {
  const picture = drawScene(scene);
  it("is 1 for equal pictures and falls with what differs", () => {
    expect(structuralSimilarity(picture, picture)).toBeCloseTo(1, 12);
    const near = structuralSimilarity(picture, drawScene({ ...scene, x: 57 }));
    const far = structuralSimilarity(picture, drawScene({ ...scene, x: 80 }));
    expect(near).toBeGreaterThan(0.9);
    expect(far).toBeLessThan(near);
    expect(
      structuralSimilarity(picture, drawScene({ ...scene, background: "white", color: "black", x: 20 })),
    ).toBeLessThan(0.8);
  });
  it("has the value of its formula for two plain pictures", () => {
    const [dark, light] = ["black", "white"].map((background) =>
      drawScene({ ...scene, background: background as "black", isVisible: false }),
    ) as [typeof picture, typeof picture];
    const [a, b] = [(0.299 * 20 + 0.587 * 20 + 0.114 * 24) / 255, 245 / 255];
    expect(structuralSimilarity(dark, light)).toBeCloseTo((2 * a * b + 1e-4) / (a * a + b * b + 1e-4), 6);
  });
});
