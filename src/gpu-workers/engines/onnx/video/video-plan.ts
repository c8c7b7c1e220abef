/** Plans a video: the native size and length that a model renders, and the video that is made of them. */
import { toRgb } from "../image/encode-image.ts";
import { type ImageSize, nativeSizeFor } from "../image/image-size.ts";

const ASPECTS = { "16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1 } as const;
export type AspectRatio = keyof typeof ASPECTS;
export type Resolution = "480p" | "580p" | "720p";

export interface VideoRequest {
  /** Frames before interpolation. */
  frames: number;
  /** Frames per second before interpolation. */
  fps: number;
  resolution: Resolution;
  aspect: AspectRatio;
  /** Interpolated frames between each pair. */
  framesBetween: number;
  /** Raises the frame rate with interpolation: the video becomes smoother, not slower. */
  adjustFps: boolean;
}

export interface VideoCapabilities {
  nativeSizes: readonly [ImageSize, ...ImageSize[]];
  /** Frames of one generation; a native number is 1 more than a multiple of the stride. */
  framesMin: number;
  framesMax: number;
  temporalStride: number;
}

export interface VideoPlan {
  /** Rendered by the model. */
  native: ImageSize & { frames: number };
  /** Written to the file. */
  output: ImageSize & { frames: number; fps: number };
}

export function planVideo(
  request: VideoRequest,
  { nativeSizes, framesMin, framesMax, temporalStride }: VideoCapabilities,
): VideoPlan {
  const size = videoSize(request.resolution, request.aspect);
  const atLeast = Math.max(framesMin, Math.min(framesMax, request.frames));
  const rounded = Math.ceil((atLeast - 1) / temporalStride) * temporalStride + 1;
  const frames = rounded > framesMax ? rounded - temporalStride : rounded;
  const factor = request.framesBetween + 1;
  return {
    native: { ...nativeSizeFor(size, nativeSizes), frames },
    output: {
      ...size,
      frames: (request.frames - 1) * factor + 1,
      fps: request.adjustFps ? request.fps * factor : request.fps,
    },
  };
}

/** `720p` of 16:9 is 1280 × 720: the number is the shorter side. Even numbers, as H.264 needs. */
export function videoSize(resolution: Resolution, aspect: AspectRatio): ImageSize {
  const short = Number.parseInt(resolution, 10);
  const long = Math.round((short * 16) / 9 / 2) * 2;
  if (aspect === "1:1") return { width: short, height: short };
  return aspect === "16:9" ? { width: long, height: short } : { width: short, height: long };
}

/** Finds the named aspect ratio that is nearest to an image's, in octaves. */
export function nearestAspect({ width, height }: ImageSize): AspectRatio {
  const distance = (name: AspectRatio) => Math.abs(Math.log2(ASPECTS[name]) - Math.log2(width / height));
  return (Object.keys(ASPECTS) as AspectRatio[]).reduce((best, name) =>
    distance(name) < distance(best) ? name : best,
  );
}

/**
 * Gives one rendered frame as RGB, 8 bits, row by row.
 *
 * @param video float32 [3, T, height, width], -1..1
 */
export function frameOf(
  video: Float32Array,
  { frames, width, height }: VideoPlan["native"],
  index: number,
): Buffer {
  const area = width * height;
  const planes = new Float32Array(3 * area);
  for (let c = 0; c < 3; c++) {
    const from = (c * frames + index) * area;
    planes.set(video.subarray(from, from + area), c * area);
  }
  return toRgb(planes);
}

/**
 * Gives `frames` images at even distances over all rendered frames. One that lies between two rendered frames
 * is blended from both.
 *
 * @param video float32 [3, T, height, width], -1..1
 * @returns RGB, 8 bits, row by row
 */
export function* resampleFrames(
  video: Float32Array,
  { width, height }: ImageSize,
  frames: number,
): Generator<Buffer> {
  const area = width * height;
  const rendered = video.length / (3 * area);
  for (let frame = 0; frame < frames; frame++) {
    const position = frames === 1 ? 0 : (frame * (rendered - 1)) / (frames - 1);
    // Sums of thirds and the like land next to a whole frame.
    const near = Math.abs(position - Math.round(position)) < 1e-6 ? Math.round(position) : position;
    const before = Math.floor(near);
    const share = near - before;
    const after = Math.min(rendered - 1, before + 1);
    const image = Buffer.allocUnsafe(3 * area);
    for (let c = 0; c < 3; c++) {
      const [first, second] = [(c * rendered + before) * area, (c * rendered + after) * area];
      for (let i = 0; i < area; i++) {
        const value = (video[first + i] as number) * (1 - share) + (video[second + i] as number) * share;
        image[i * 3 + c] = Math.round(Math.min(255, Math.max(0, (value + 1) * 127.5)));
      }
    }
    yield image;
  }
}
