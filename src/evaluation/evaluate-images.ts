/** Whether a picture shows what its prompt says: background, colour and shape, by its pixels. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import {
  IMAGE_SIZE_PRESETS,
  nativeSizeFor,
  type PictureSize,
} from "../gpu-workers/engines/onnx/image/image-size.ts";
import { judgeScene } from "./scene-judge.ts";
import type { Evaluation } from "./evaluation.ts";

interface PictureEntry {
  prompt: string;
  seed: number;
  background: string;
  color: string;
  shape: string;
}

export const pictures: Evaluation = {
  makes: "pictures",
  limits: { all: 0.9 },
  async judge({ model, each, render, folder }) {
    // The native size of the default one, since scaling changes nothing that is judged.
    const native = model.parameters.nativeSizes as unknown as [PictureSize, ...PictureSize[]];
    const size = nativeSizeFor(IMAGE_SIZE_PRESETS.landscape_4_3 as PictureSize, native);
    return each(async (entry, i) => {
      const { prompt, seed, ...wanted } = entry as unknown as PictureEntry;
      const png = await render({ prompt, seed, image_size: { ...size }, output_format: "png" });
      await writeFile(join(folder, `${i}.png`), png);
      const { data, info } = await sharp(png).removeAlpha().raw().toBuffer({ resolveWithObject: true });
      const seen = judgeScene({ data, width: info.width, height: info.height });
      const background = seen.background === wanted.background;
      const color = seen.color === wanted.color;
      const shape = seen.shape === wanted.shape;
      return {
        says: `"${prompt}": ${wanted.color} ${wanted.shape} on ${wanted.background}, saw ${seen.color ?? "nothing"} ${seen.shape ?? "?"} on ${seen.background}`,
        right: { background, color, shape, all: background && color && shape },
      };
    });
  },
};
