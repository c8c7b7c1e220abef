/** Clips for tests: a red disc on blue that moves from left to right. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  AV_CODEC_FLAG_GLOBAL_HEADER,
  AV_PIX_FMT_RGB24,
  AV_PIX_FMT_YUV420P,
  type FFVideoEncoder,
} from "node-av/constants";
import {
  Codec,
  CodecContext,
  Dictionary,
  FormatContext,
  Frame,
  type Packet,
  Rational,
  SoftwareScaleContext,
} from "node-av/lib";
import type { ImageSize } from "../image/image-size.ts";
import { encodeFrame, throwIfFailed } from "./ffmpeg.ts";

export const BLUE = [45, 85, 220] as const;
export const RED = [220, 40, 40] as const;

export interface TestClip {
  container: "mp4" | "webm" | "matroska" | "avi" | "mov";
  encoder: string;
  frames: number;
  fps: number;
  size: ImageSize;
  bFrames: number;
  /** The number of times that each packet is in the file, at successive times. */
  copies: number;
  /** The number of frames at the beginning that are in the file and not shown. */
  hidden: number;
  /** Width to height of a pixel. */
  pixelShape: { num: number; den: number };
}

/** Draws an image, RGB, row by row, with the disc at `share` of its way, 0..1. */
export function discImage({ width, height }: ImageSize, share: number): Buffer {
  const image = Buffer.alloc(width * height * 3, Buffer.from(BLUE));
  const radius = height / 4;
  const [x0, y0] = [radius + share * (width - 2 * radius), height / 2];
  for (let y = Math.floor(y0 - radius); y < y0 + radius; y++) {
    for (let x = Math.floor(x0 - radius); x < Math.min(width, x0 + radius); x++) {
      if (Math.hypot(x + 0.5 - x0, y + 0.5 - y0) < radius) image.set(RED, (y * width + x) * 3);
    }
  }
  return image;
}

export function* discVideo(size: ImageSize, frames: number): Generator<Buffer> {
  for (let i = 0; i < frames; i++) yield discImage(size, frames === 1 ? 0 : i / (frames - 1));
}

/** Writes a clip; disposing removes it. */
export async function testClip(
  change: Partial<TestClip> = {},
): Promise<AsyncDisposable & { path: string; folder: string }> {
  const clip: TestClip = {
    container: "mp4",
    encoder: "libx264",
    frames: 24,
    fps: 12,
    size: { width: 96, height: 64 },
    bFrames: 0,
    copies: 1,
    hidden: 0,
    pixelShape: { num: 1, den: 1 },
    ...change,
  };
  const folder = await mkdtemp(join(tmpdir(), "tempera-clip-"));
  const path = join(folder, "clip");
  await writeTestClip(path, clip);
  return { path, folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) };
}

async function writeTestClip(path: string, clip: TestClip): Promise<void> {
  const { container, encoder: name, frames, fps, size, bFrames, copies, hidden, pixelShape } = clip;
  const codec = Codec.findEncoderByName(name as unknown as FFVideoEncoder);
  if (!codec) throw new Error(`There is no encoder ${name}.`);
  const format = new FormatContext();
  throwIfFailed(format.allocOutputContext2(null, container, path), "container");
  using encoder = new CodecContext();
  encoder.allocContext3(codec);
  encoder.width = size.width;
  encoder.height = size.height;
  encoder.pixelFormat = AV_PIX_FMT_YUV420P;
  encoder.timeBase = new Rational(1, fps);
  encoder.framerate = new Rational(fps, 1);
  encoder.sampleAspectRatio = new Rational(pixelShape.num, pixelShape.den);
  encoder.gopSize = 12;
  encoder.maxBFrames = bFrames;
  encoder.bitRate = 400_000n;
  encoder.setFlags(AV_CODEC_FLAG_GLOBAL_HEADER);
  throwIfFailed(await encoder.open2(codec, null), name);
  const stream = format.newStream(null);
  stream.timeBase = encoder.timeBase;
  throwIfFailed(stream.codecpar.fromContext(encoder), "stream");
  throwIfFailed(await format.openOutput(), "file");
  stream.sampleAspectRatio = encoder.sampleAspectRatio;
  // Times before 0 become an edit list, as telephones write one when a video is cut.
  throwIfFailed(await format.writeHeader(Dictionary.fromObject({ avoid_negative_ts: "disabled" })), "header");
  using scale = new SoftwareScaleContext();
  scale.allocContext();
  const write = (frame: Frame | null) =>
    encodeFrame(encoder, frame, async (packet) => {
      for (let copy = 0n; copy < copies; copy++) {
        using written = packet.clone() as Packet;
        written.streamIndex = stream.index;
        written.duration = 1n;
        written.pts = (packet.pts - BigInt(hidden)) * BigInt(copies) + copy;
        written.dts = (packet.dts - BigInt(hidden)) * BigInt(copies) + copy;
        written.rescaleTs(encoder.timeBase, stream.timeBase);
        throwIfFailed(await format.interleavedWriteFrame(written), "packet");
      }
    });
  let ticks = 0n;
  for (const rgb of discVideo(size, frames)) {
    using source = Frame.fromVideoBuffer(rgb, { ...size, format: AV_PIX_FMT_RGB24 });
    using frame = new Frame();
    frame.alloc();
    frame.format = AV_PIX_FMT_YUV420P;
    frame.width = size.width;
    frame.height = size.height;
    throwIfFailed(frame.getBuffer(), "memory");
    throwIfFailed(scale.scaleFrameSync(frame, source), "converting");
    frame.pts = ticks++;
    await write(frame);
  }
  await write(null);
  throwIfFailed(await format.writeTrailer(), "trailer");
  await format.closeOutput();
  format.freeContext();
}
