/**
 * Draws the scenes that models are judged on: one shape on a plain background, as
 * training/tempera_training/scenes.py does.
 */
import {
  type Rgb,
  type RgbImage,
  SCENE_COLORS,
  type SceneColor,
  type SceneShape,
  SHAPES,
} from "./scene-judge.ts";

export interface SceneToDraw {
  width: number;
  height: number;
  background: SceneColor;
  color: SceneColor;
  shape: SceneShape;
  /** Centre and radius, in pixels. */
  x: number;
  y: number;
  radius: number;
  /** @default true */
  isVisible?: boolean;
}

/** Draws a scene; edges are soft over one pixel. */
export function drawScene({
  width,
  height,
  background,
  color,
  shape,
  x,
  y,
  radius,
  isVisible = true,
}: SceneToDraw): RgbImage {
  const [ground, ink]: [Rgb, Rgb] = [SCENE_COLORS[background], SCENE_COLORS[color]];
  const data = new Uint8Array(width * height * 3);
  const distance: (u: number, v: number) => number = SHAPES[shape];
  for (let i = 0; i < width * height; i++) {
    const [u, v] = [((i % width) + 0.5 - x) / radius, (Math.floor(i / width) + 0.5 - y) / radius];
    const cover = isVisible ? Math.max(0, Math.min(1, 0.5 - distance(u, v) * radius)) : 0;
    for (const c of [0, 1, 2] as const)
      data[i * 3 + c] = Math.round(ground[c] + cover * (ink[c] - ground[c]));
  }
  return { data, width, height };
}
