/** Evaluates whether images follow their prompts: background, colour and shape, by their pixels. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import {
  IMAGE_SIZE_PRESETS,
  type ImageSize,
  nativeSizeFor,
} from "../gpu-workers/engines/onnx/image/image-size.ts";
import type { Evaluation } from "./evaluation.ts";
import { judgeScene } from "./scene-judge.ts";

interface ImageEntry {
  prompt: string;
  seed: number;
  background: string;
  color: string;
  shape: string;
}

export const imageEvaluation: Evaluation = {
  plural: "images",
  limits: { all: 0.9 },
  async judge({ model, each, render, folder }) {
    // The native size that the default size is rendered at, since scaling changes nothing that is judged.
    const native = model.parameters.nativeSizes as unknown as [ImageSize, ...ImageSize[]];
    const size = nativeSizeFor(IMAGE_SIZE_PRESETS.landscape_4_3 as ImageSize, native);
    return each(async (entry, i) => {
      const { prompt, seed, ...wanted } = entry as unknown as ImageEntry;
      const png = await render({ prompt, seed, image_size: { ...size }, output_format: "png" });
      await writeFile(join(folder, `${i}.png`), png);
      const { data, info } = await sharp(png).removeAlpha().raw().toBuffer({ resolveWithObject: true });
      const seen = judgeScene({ data, width: info.width, height: info.height });
      const background = seen.background === wanted.background;
      const color = seen.color === wanted.color;
      const shape = seen.shape === wanted.shape;
      const observed = `${seen.color ?? "nothing"} ${seen.shape ?? "?"} on ${seen.background}`;
      return {
        summary: `"${prompt}": ${wanted.color} ${wanted.shape} on ${wanted.background}, saw ${observed}`,
        correct: { background, color, shape, all: background && color && shape },
      };
    });
  },
};
