/** Encodes a model's frames as an MP4 that browsers play. */
import { readFile } from "node:fs/promises";
import { AV_PIX_FMT_RGB24, AVCOL_SPC_RGB, SWS_ACCURATE_RND, SWS_BICUBIC } from "node-av/constants";
import { Frame, SoftwareScaleContext } from "node-av/lib";
import type { ImageSize } from "../image/image-size.ts";
import { encodeFrame, temporaryFile, throwIfFailed } from "./ffmpeg.ts";
import { newYuvFrame, openH264, type VideoQuality, type VideoWriteMode } from "./h264-encoder.ts";
import { openMp4 } from "./mp4-muxer.ts";

export interface VideoToWrite {
  /** RGB, 8 bits, row by row, each of the size `from`. One is in memory at a time. */
  frames: Iterable<Buffer> | AsyncIterable<Buffer>;
  from: ImageSize;
  /** Size of the video, in even numbers: frames are scaled to cover it and cropped around the middle. */
  size: ImageSize;
  /** Frames per second, a whole number. */
  fps: number;
  quality: VideoQuality;
  writeMode: VideoWriteMode;
  threads: number;
  signal: AbortSignal;
}

/**
 * Gives the bytes of the file: H.264, yuv420p, index first. The same frames give the same bytes. Rejects with
 * the signal's reason between two frames.
 */
export async function writeVideo({
  frames,
  from,
  size,
  fps,
  quality,
  writeMode,
  threads,
  signal,
}: VideoToWrite): Promise<Buffer> {
  await using file = await temporaryFile("video.mp4");
  await using mp4 = openMp4(file.path);
  using encoder = await openH264({ size, timeBase: { num: 1, den: fps }, fps, quality, writeMode, threads });
  const stream = mp4.addStream(encoder);
  await mp4.begin();
  using scale = createScaler(from, size);
  let count = 0n;
  for await (const rgb of frames) {
    signal.throwIfAborted();
    using frame = scale.toYuv(rgb);
    frame.pts = count++;
    await encodeFrame(encoder, frame, async (packet) => {
      // The last frame is shown as long as the others.
      packet.duration = 1n;
      await mp4.write(packet, encoder.timeBase, stream);
    });
  }
  await encodeFrame(encoder, null, async (packet) => {
    packet.duration = 1n;
    await mp4.write(packet, encoder.timeBase, stream);
  });
  await mp4.end();
  return await readFile(file.path);
}

interface Scaler extends Disposable {
  toYuv(rgb: Buffer): Frame;
}

function createScaler(from: ImageSize, size: ImageSize): Scaler {
  const cover = coverSize(from, size);
  const context = new SoftwareScaleContext();
  context.allocContext();
  throwIfFailed(context.setOption("sws_flags", SWS_BICUBIC | SWS_ACCURATE_RND), "scaling");
  return {
    toYuv(rgb) {
      using source = Frame.fromVideoBuffer(rgb, { ...from, format: AV_PIX_FMT_RGB24 });
      source.colorSpace = AVCOL_SPC_RGB;
      const scaled = newYuvFrame(cover);
      // The scaler reads sizes, formats and colours from the two frames.
      throwIfFailed(context.scaleFrameSync(scaled, source), "scaling");
      return middleOf(scaled, size);
    },
    [Symbol.dispose]: () => context.freeContext(),
  };
}

/** Gives the smallest size of the shape of `from` that covers `size`, in even numbers. */
export function coverSize(from: ImageSize, size: ImageSize): ImageSize {
  const scale = Math.max(size.width / from.width, size.height / from.height);
  const even = (length: number, least: number) => Math.max(least, Math.round((length * scale) / 2) * 2);
  return { width: even(from.width, size.width), height: even(from.height, size.height) };
}

/** Crops a frame to its middle; frees the frame itself. */
function middleOf(frame: Frame, { width, height }: ImageSize): Frame {
  if (frame.width === width && frame.height === height) return frame;
  // Offsets in whole colour samples: two pixels each way.
  const left = Math.floor((frame.width - width) / 4) * 2;
  const top = Math.floor((frame.height - height) / 4) * 2;
  const middle = newYuvFrame({ width, height });
  const [source, target] = [frame.data ?? [], middle.data ?? []];
  for (const plane of [0, 1, 2]) {
    const half = plane === 0 ? 1 : 2;
    const [fromStride, toStride] = [frame.linesize[plane] ?? 0, middle.linesize[plane] ?? 0];
    for (let row = 0; row < height / half; row++) {
      const start = (top / half + row) * fromStride + left / half;
      source[plane]?.copy(target[plane] as Buffer, row * toStride, start, start + width / half);
    }
  }
  frame.free();
  return middle;
}
