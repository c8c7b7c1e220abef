/** Whether a film moves the way its prompt says, and begins with the picture that was given. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import type { JsonObject } from "../core/json/json.ts";
import { judgeFilm, structuralSimilarity } from "./video-judge.ts";
import { drawScene, type SceneToDraw } from "./scene-drawing.ts";
import type { Evaluation } from "./evaluation.ts";

interface FilmEntry {
  prompt: string;
  seed: number;
  background: string;
  color: string;
  motion: string;
  aspect: "16:9" | "9:16" | "1:1";
  /** The size it is judged at. */
  width?: number;
  height?: number;
  /** The given picture; absent for text-to-video. */
  first?: SceneToDraw;
}

/** A given picture is sent this many times larger: nobody sends one of 112 × 64. */
const ENLARGED = 4;
/** The least similarity of the first frame with the given picture. */
const SIMILARITY_MIN = 0.8;
/** What costs time and changes nothing that is judged: the size of the file, and frames between frames. */
const QUICK: JsonObject = { resolution: "480p", interpolator_model: "none", video_write_mode: "fast" };

export const films: Evaluation = {
  makes: "films",
  limits: { motion: 0.9, "first frame": 0.95 },
  async judge({ each, render, clips, folder }) {
    return each(async (raw, i) => {
      const entry = raw as unknown as FilmEntry;
      const { prompt, seed, first, aspect } = entry;
      const size = first ?? { width: entry.width ?? 112, height: entry.height ?? 64 };
      const picture = join(folder, `${i}-given.png`);
      if (first) {
        const large = { ...first };
        for (const key of ["width", "height", "x", "y", "radius"] as const) large[key] *= ENLARGED;
        const { data, width, height } = drawScene(large);
        await sharp(data, { raw: { width, height, channels: 3 } })
          .png()
          .toFile(picture);
      }
      const input = {
        prompt,
        seed,
        aspect_ratio: aspect,
        ...QUICK,
        ...(first && { image_url: "attachment:0" }),
      };
      const path = join(folder, `${i}.mp4`);
      await writeFile(path, await render(input, first ? [picture] : []));
      const { width, height } = size;
      const film = await clips.decode(path, { width, height });
      const seen = judgeFilm(film);
      const begins =
        first &&
        structuralSimilarity({ data: film.frames[0] as Uint8Array, width, height }, drawScene(first));
      return {
        says: `"${prompt}": ${entry.color} on ${entry.background} ${entry.motion}, saw ${seen.color ?? "nothing"} on ${seen.background} ${seen.motion ?? "still"}${begins === undefined ? "" : `, first frame ${begins.toFixed(2)}`}`,
        right: {
          background: seen.background === entry.background,
          color: seen.color === entry.color,
          motion: seen.motion === entry.motion,
          ...(begins !== undefined && { "first frame": begins >= SIMILARITY_MIN }),
        },
        ...(begins !== undefined && { measures: { "first frame similarity": begins } }),
      };
    });
  },
};
