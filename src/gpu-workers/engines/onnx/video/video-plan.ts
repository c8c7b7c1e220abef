/**
 * From the film a caller asks for to the film that is made: what a model renders natively, and what is made
 * of it.
 */
import { nativeSizeFor, type PictureSize } from "../image/image-size.ts";

const ASPECTS = { "16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1 } as const;
export type AspectRatio = keyof typeof ASPECTS;
export type Resolution = "480p" | "580p" | "720p";

export interface FilmAsked {
  /** Frames that are generated. */
  frames: number;
  fps: number;
  resolution: Resolution;
  aspect: AspectRatio;
  /** Put between each pair of generated frames. */
  interpolated: number;
  /** Interpolation makes the film smoother, not slower. */
  adjustFps: boolean;
}

export interface FilmModel {
  nativeSizes: readonly [PictureSize, ...PictureSize[]];
  /** Frames of one generation; a native number is 1 more than a multiple of the stride. */
  framesMin: number;
  framesMax: number;
  temporalStride: number;
}

export interface FilmPlan {
  native: PictureSize & { frames: number };
  /** Of the file. */
  film: PictureSize & { frames: number; fps: number };
}

export function planFilm(
  asked: FilmAsked,
  { nativeSizes, framesMin, framesMax, temporalStride }: FilmModel,
): FilmPlan {
  const size = filmSize(asked.resolution, asked.aspect);
  const atLeast = Math.max(framesMin, Math.min(framesMax, asked.frames));
  const rounded = Math.ceil((atLeast - 1) / temporalStride) * temporalStride + 1;
  const frames = rounded > framesMax ? rounded - temporalStride : rounded;
  const between = asked.interpolated + 1;
  return {
    native: { ...nativeSizeFor(size, nativeSizes), frames },
    film: {
      ...size,
      frames: (asked.frames - 1) * between + 1,
      fps: asked.adjustFps ? asked.fps * between : asked.fps,
    },
  };
}

/** `720p` of 16:9 is 1280 × 720: the number is the shorter side. Even numbers, as H.264 needs. */
export function filmSize(resolution: Resolution, aspect: AspectRatio): PictureSize {
  const short = Number.parseInt(resolution, 10);
  const long = Math.round((short * 16) / 9 / 2) * 2;
  if (aspect === "1:1") return { width: short, height: short };
  return aspect === "16:9" ? { width: long, height: short } : { width: short, height: long };
}

/** The named shape that is nearest to a picture's, in octaves. */
export function nearestAspect({ width, height }: PictureSize): AspectRatio {
  const distance = (name: AspectRatio) => Math.abs(Math.log2(ASPECTS[name]) - Math.log2(width / height));
  return (Object.keys(ASPECTS) as AspectRatio[]).reduce((best, name) =>
    distance(name) < distance(best) ? name : best,
  );
}

/**
 * The pictures of a film: `frames` of them at even distances over all that was rendered. One that lies
 * between two rendered frames is blended from both.
 *
 * @param video float32 [3, T, height, width], -1..1
 * @returns RGB, 8 bits, row by row
 */
export function* filmFrames(
  video: Float32Array,
  { width, height }: PictureSize,
  frames: number,
): Generator<Buffer> {
  const area = width * height;
  const rendered = video.length / (3 * area);
  for (let frame = 0; frame < frames; frame++) {
    const at = frames === 1 ? 0 : (frame * (rendered - 1)) / (frames - 1);
    // Sums of thirds and the like land next to a whole frame.
    const near = Math.abs(at - Math.round(at)) < 1e-6 ? Math.round(at) : at;
    const before = Math.floor(near);
    const share = near - before;
    const after = Math.min(rendered - 1, before + 1);
    const picture = Buffer.allocUnsafe(3 * area);
    for (let c = 0; c < 3; c++) {
      const [first, second] = [(c * rendered + before) * area, (c * rendered + after) * area];
      for (let i = 0; i < area; i++) {
        const value = (video[first + i] as number) * (1 - share) + (video[second + i] as number) * share;
        picture[i * 3 + c] = Math.round(Math.min(255, Math.max(0, (value + 1) * 127.5)));
      }
    }
    yield picture;
  }
}
