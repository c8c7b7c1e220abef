/** Evaluates whether videos move as their prompts say, and begin with the input image. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import type { JsonObject } from "../core/json/json.ts";
import type { Evaluation, EvaluationBench, Verdict } from "./evaluation.ts";
import { drawScene, type SceneToDraw } from "./scene-drawing.ts";
import { judgeVideo, type RgbVideo, structuralSimilarity } from "./video-judge.ts";

interface VideoEntry {
  prompt: string;
  seed: number;
  background: string;
  color: string;
  motion: string;
  aspect: "16:9" | "9:16" | "1:1";
  /** The size at which it is judged. */
  width?: number;
  height?: number;
  /** The input image; absent for text-to-video. */
  first?: SceneToDraw;
}

/** An input image is sent this many times larger: nobody sends one of 112 × 64. */
const ENLARGED = 4;
/** The least similarity of the first frame to the input image. */
const SIMILARITY_MIN = 0.8;
/**
 * Settings that save time and change nothing that is judged: the size of the file, and interpolated frames.
 */
const QUICK: JsonObject = { resolution: "480p", interpolator_model: "none", video_write_mode: "fast" };

export const videoEvaluation: Evaluation = {
  plural: "videos",
  limits: { motion: 0.9, "first frame": 0.95 },
  judge: (bench) => bench.each((raw, i) => judgeEntry(bench, raw as unknown as VideoEntry, i)),
};

async function judgeEntry(
  { render, clips, folder }: EvaluationBench,
  entry: VideoEntry,
  index: number,
): Promise<Verdict> {
  const { prompt, seed, first, aspect } = entry;
  const { width, height } = first ?? { width: entry.width ?? 112, height: entry.height ?? 64 };
  const image = join(folder, `${index}-given.png`);
  if (first) await writeInputImage(first, image);
  const input = {
    prompt,
    seed,
    aspect_ratio: aspect,
    ...QUICK,
    ...(first && { image_url: "attachment:0" }),
  };
  const path = join(folder, `${index}.mp4`);
  await writeFile(path, await render(input, first ? [image] : []));
  const video = await clips.decode(path, { width, height });
  const similarity =
    first && structuralSimilarity({ data: video.frames[0] as Uint8Array, width, height }, drawScene(first));
  return verdictOf(entry, video, similarity);
}

async function writeInputImage(scene: SceneToDraw, path: string): Promise<void> {
  const large = { ...scene };
  for (const key of ["width", "height", "x", "y", "radius"] as const) large[key] *= ENLARGED;
  const { data, width, height } = drawScene(large);
  await sharp(data, { raw: { width, height, channels: 3 } })
    .png()
    .toFile(path);
}

/** @param similarity of the first frame to the input image, where there is one */
function verdictOf(entry: VideoEntry, video: RgbVideo, similarity: number | undefined): Verdict {
  const seen = judgeVideo(video);
  const first = similarity === undefined ? "" : `, first frame ${similarity.toFixed(2)}`;
  return {
    summary:
      `"${entry.prompt}": ${entry.color} on ${entry.background} ${entry.motion}, ` +
      `saw ${seen.color ?? "nothing"} on ${seen.background} ${seen.motion ?? "still"}${first}`,
    correct: {
      background: seen.background === entry.background,
      color: seen.color === entry.color,
      motion: seen.motion === entry.motion,
      ...(similarity !== undefined && { "first frame": similarity >= SIMILARITY_MIN }),
    },
    ...(similarity !== undefined && { measures: { "first frame similarity": similarity } }),
  };
}
