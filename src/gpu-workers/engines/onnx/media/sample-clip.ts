/** Samples a clip for a network: small square images at even distances in time. */
import { AV_PIX_FMT_RGB24, SWS_AREA } from "node-av/constants";
import { Frame, SoftwareScaleContext } from "node-av/lib";
import { throwIfFailed } from "./ffmpeg.ts";
import { clipFrames, openClip, unsupportedVideo } from "./open-clip.ts";

export interface ClipSampling {
  /** Images per second. */
  rate: number;
  /** Images in all. Where the clip ends before them, its last frame is repeated. */
  count: number;
  /** Side of the squashed image, in pixels. */
  side: number;
  threads: number;
  signal: AbortSignal;
}

/**
 * Gives the images that are visible at 0, 1/rate, 2/rate, … seconds: float32 [3, count, side, side], -1..1.
 * Rejects with a 422 when nothing can be decoded.
 *
 * @param field the input's field that names the clip, for faults
 */
export async function sampleClip(
  path: string,
  field: string,
  { rate, count, side, threads, signal }: ClipSampling,
): Promise<Float32Array> {
  await using clip = await openClip(path, field);
  using scale = new SoftwareScaleContext();
  scale.allocContext();
  throwIfFailed(scale.setOption("sws_flags", SWS_AREA), "scaling");
  using small = new Frame();
  small.alloc();
  small.format = AV_PIX_FMT_RGB24;
  small.width = side;
  small.height = side;
  throwIfFailed(small.getBuffer(), "memory for a frame");

  const area = side * side;
  const pixels = new Float32Array(3 * count * area);
  let taken = 0;
  /** Copies `small` to every sample time before `untilSeconds` that has no image yet. */
  const put = (untilSeconds: number): void => {
    const [stride = 0] = small.linesize;
    const data = small.data?.[0] as Buffer;
    for (; taken < count && taken / rate < untilSeconds - 1e-9; taken++) {
      for (let i = 0; i < area; i++) {
        const from = Math.floor(i / side) * stride + (i % side) * 3;
        for (let c = 0; c < 3; c++)
          pixels[(c * count + taken) * area + i] = (data[from + c] ?? 0) / 127.5 - 1;
      }
    }
  };

  // A frame is scaled only when it is visible at a sample time, which is known when the next frame is there.
  using shown = new Frame();
  shown.alloc();
  let any = false;
  for await (const { frame, atSeconds } of clipFrames(clip, field, threads, signal)) {
    if (any && taken < count && taken / rate < atSeconds - 1e-9) {
      throwIfFailed(scale.scaleFrameSync(small, shown), "scaling");
      put(atSeconds);
    }
    if (taken >= count) return pixels;
    shown.unref();
    throwIfFailed(shown.ref(frame), "holding a frame");
    any = true;
  }
  if (!any) throw unsupportedVideo(field, "The video has no frame that can be decoded");
  throwIfFailed(scale.scaleFrameSync(small, shown), "scaling");
  put(Number.POSITIVE_INFINITY);
  return pixels;
}
