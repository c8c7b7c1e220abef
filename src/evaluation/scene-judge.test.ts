import { readdirSync } from "node:fs";
import { join } from "node:path";
import sharp, { type Sharp } from "sharp";
import { describe, expect, it } from "vitest";
import { judgeScene, type Picture } from "./scene-judge.ts";

/**
 * Pictures drawn by training/tempera_training/scenes.py (`render`), named `<background>-<color>-<shape>.png`.
 */
const folder = join(import.meta.dirname, "scene-judge.fixtures");

const read = async (image: Sharp): Promise<Picture> => {
  const { data, info } = await image.removeAlpha().raw().toBuffer({ resolveWithObject: true });
  return { data, width: info.width, height: info.height };
};

describe("judgeScene", () => {
  it.each(readdirSync(folder))("%s", async (file) => {
    const [background, color, shape] = file.replace(".png", "").split("-");
    const seen = judgeScene(await read(sharp(join(folder, file))));
    expect(seen).toMatchObject({ background, color, shape });
    expect(seen.overlap).toBeGreaterThan(0.9);
  });

  it("sees the same through a blur, as a small model paints", async () => {
    expect(judgeScene(await read(sharp(join(folder, "cyan-orange-ring.png")).blur(3)))).toMatchObject({
      background: "cyan",
      color: "orange",
      shape: "ring",
    });
  });

  it("sees nothing on an empty picture, and no shape in a bar", () => {
    const picture = (paint: (x: number, y: number) => boolean): Picture => {
      const data = new Uint8Array(64 * 64 * 3).fill(245);
      for (let i = 0; i < 64 * 64; i++) if (paint(i % 64, Math.floor(i / 64))) data.set([220, 40, 40], i * 3);
      return { data, width: 64, height: 64 };
    };
    expect(judgeScene(picture(() => false))).toEqual({ background: "white", overlap: 0 });
    const diagonal = judgeScene(picture((x, y) => Math.abs(x - y) < 4 && x > 8 && x < 56));
    expect(diagonal).toMatchObject({ background: "white", color: "red" });
    expect(diagonal.shape).toBeUndefined();
  });
});
