import { readdirSync } from "node:fs";
import { join } from "node:path";
import sharp, { type Sharp } from "sharp";
import { describe, expect, it } from "vitest";
import { judgeScene, type RgbImage } from "./scene-judge.ts";

/**
 * Images drawn by training/tempera_training/scenes.py (`render`), named `<background>-<color>-<shape>.png`.
 */
const folder = join(import.meta.dirname, "scene-judge.fixtures");

const read = async (image: Sharp): Promise<RgbImage> => {
  const { data, info } = await image.removeAlpha().raw().toBuffer({ resolveWithObject: true });
  return { data, width: info.width, height: info.height };
};

describe("judgeScene", () => {
  it.each(readdirSync(folder))("judges %s", async (file) => {
    const [background, color, shape] = file.replace(".png", "").split("-");
    const seen = judgeScene(await read(sharp(join(folder, file))));
    expect(seen).toMatchObject({ background, color, shape });
    expect(seen.overlap).toBeGreaterThan(0.9);
  });

  it("judges a blurred image the same, as a small model paints it", async () => {
    expect(judgeScene(await read(sharp(join(folder, "cyan-orange-ring.png")).blur(3)))).toMatchObject({
      background: "cyan",
      color: "orange",
      shape: "ring",
    });
  });

  it("finds nothing on an empty image, and no shape in a bar", () => {
    const imageOf = (paint: (x: number, y: number) => boolean): RgbImage => {
      const data = new Uint8Array(64 * 64 * 3).fill(245);
      for (let i = 0; i < 64 * 64; i++) if (paint(i % 64, Math.floor(i / 64))) data.set([220, 40, 40], i * 3);
      return { data, width: 64, height: 64 };
    };
    expect(judgeScene(imageOf(() => false))).toEqual({ background: "white", overlap: 0 });
    const diagonal = judgeScene(imageOf((x, y) => Math.abs(x - y) < 4 && x > 8 && x < 56));
    expect(diagonal).toMatchObject({ background: "white", color: "red" });
    expect(diagonal.shape).toBeUndefined();
  });
});
