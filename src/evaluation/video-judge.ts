/**
 * Judges a video of one moving shape by its pixels alone; `observe` and `ssim` of
 * training/tempera_training/video/judge.py do the same.
 */
import { nearestColor, type Rgb, type RgbImage, type SceneColor } from "./scene-judge.ts";

export type Direction = "left" | "right" | "up" | "down";

export interface VideoJudgement {
  background: SceneColor;
  /** Absent when the background is empty. */
  color?: SceneColor;
  /** Absent when the shape does not move. */
  motion?: Direction;
}

export interface RgbVideo {
  width: number;
  height: number;
  /** RGB, 8 bits, row by row. */
  frames: readonly Uint8Array[];
}

/**
 * The least distance of a shape's pixel from the background: a quarter of the way from black to white in one
 * channel, or half the farthest pixel's distance if that is more.
 */
const FAR_MIN = 0.25 * 127.5;
/** The quantile that counts as the farthest pixel: one in two thousand may be an artefact. */
const FARTHEST_SHARE = 0.9995;
/** The fewest pixels of a shape, in an image of 112 × 64. */
const PIXELS_MIN = 6;
/** The least motion, as a share of the image. */
const MOTION_MIN = 0.08;

/**
 * Judges a video: the median of the edges of all frames is the background, pixels far from it are the shape,
 * and their median is its colour. The position of the shape in the last fifth of the frames against the first
 * fifth is the motion; the larger direction counts.
 */
export function judgeVideo({ width, height, frames }: RgbVideo): VideoJudgement {
  const edges = Array.from({ length: width * height }, (_, i) => i).filter((i) => {
    const [x, y] = [i % width, Math.floor(i / width)];
    return x === 0 || y === 0 || x === width - 1 || y === height - 1;
  });
  const ground = medianOf(frames, () => edges);
  const background = nearestColor(ground);
  const distances = frames.map((frame) =>
    Float32Array.from({ length: width * height }, (_, i) => distanceTo(frame, i, ground)),
  );
  const threshold = Math.max(FAR_MIN, 0.5 * farthest(distances));
  const marked = distances.map((distance) =>
    [...distance.keys()].filter((i) => (distance[i] ?? 0) > threshold),
  );
  const shown = marked.filter(
    (pixels) => pixels.length >= Math.max(1, (PIXELS_MIN * width * height) / (112 * 64)),
  );
  if (shown.length === 0) return { background };
  const color = nearestColor(medianOf(frames, (frame) => marked[frame] ?? []));
  const positions = shown.map((pixels) => ({
    x: pixels.reduce((sum, i) => sum + (i % width) + 0.5, 0) / pixels.length / width,
    y: pixels.reduce((sum, i) => sum + Math.floor(i / width) + 0.5, 0) / pixels.length / height,
  }));
  const fifth = Math.max(1, Math.floor(positions.length / 5));
  const moved = (axis: "x" | "y") =>
    middle(positions.slice(-fifth).map((one) => one[axis])) -
    middle(positions.slice(0, fifth).map((one) => one[axis]));
  const [dx, dy] = [moved("x"), moved("y")];
  if (Math.max(Math.abs(dx), Math.abs(dy)) < MOTION_MIN) return { background, color };
  const motion = Math.abs(dx) > Math.abs(dy) ? (dx < 0 ? "left" : "right") : dy < 0 ? "up" : "down";
  return { background, color, motion };
}

const distanceTo = (frame: Uint8Array, i: number, [r, g, b]: Rgb): number =>
  Math.hypot((frame[i * 3] ?? 0) - r, (frame[i * 3 + 1] ?? 0) - g, (frame[i * 3 + 2] ?? 0) - b);

/** Gives the median of some pixels of each frame, per channel; by counting, since there are many. */
function medianOf(frames: readonly Uint8Array[], pixelsOf: (frame: number) => readonly number[]): Rgb {
  const channel = (c: 0 | 1 | 2): number => {
    const counts = new Uint32Array(256);
    let total = 0;
    frames.forEach((frame, index) => {
      for (const i of pixelsOf(index)) {
        const value = frame[i * 3 + c] ?? 0;
        counts[value] = (counts[value] ?? 0) + 1;
        total++;
      }
    });
    let seen = 0;
    for (let value = 0; value < 256; value++) {
      seen += counts[value] ?? 0;
      if (seen > total / 2) return value;
    }
    return 0;
  };
  return [channel(0), channel(1), channel(2)];
}

function farthest(distances: readonly Float32Array[]): number {
  const all = new Float32Array(distances.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const distance of distances) {
    all.set(distance, offset);
    offset += distance.length;
  }
  return all.sort()[Math.floor((all.length - 1) * FARTHEST_SHARE)] ?? 0;
}

const middle = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] ?? 0;

const WINDOW = 7;
const [C1, C2] = [0.01 ** 2, 0.03 ** 2];

/**
 * Computes the structural similarity of two images of one size, 1 for equal ones (Wang et al., "Image quality
 * assessment", 2004): of the luma, with a box window of 7 × 7, the mean over the image.
 */
export function structuralSimilarity(one: RgbImage, other: RgbImage): number {
  const { width, height } = one;
  const luma = ({ data }: RgbImage) =>
    Float64Array.from(
      { length: width * height },
      (_, i) =>
        (0.299 * (data[i * 3] ?? 0) + 0.587 * (data[i * 3 + 1] ?? 0) + 0.114 * (data[i * 3 + 2] ?? 0)) / 255,
    );
  const [a, b] = [luma(one), luma(other)];
  let sum = 0;
  for (let top = 0; top + WINDOW <= height; top++) {
    for (let left = 0; left + WINDOW <= width; left++) {
      let [sa, sb, saa, sbb, sab] = [0, 0, 0, 0, 0];
      for (let y = top; y < top + WINDOW; y++) {
        for (let i = y * width + left; i < y * width + left + WINDOW; i++) {
          const [va, vb] = [a[i] ?? 0, b[i] ?? 0];
          sa += va;
          sb += vb;
          saa += va * va;
          sbb += vb * vb;
          sab += va * vb;
        }
      }
      const n = WINDOW * WINDOW;
      const [ma, mb] = [sa / n, sb / n];
      const [va, vb, cov] = [saa / n - ma * ma, sbb / n - mb * mb, sab / n - ma * mb];
      sum += ((2 * ma * mb + C1) * (2 * cov + C2)) / ((ma * ma + mb * mb + C1) * (va + vb + C2));
    }
  }
  return sum / ((width - WINDOW + 1) * (height - WINDOW + 1));
}
