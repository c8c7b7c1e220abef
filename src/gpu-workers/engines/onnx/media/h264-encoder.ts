/** An H.264 encoder for videos that browsers play: yuv420p, BT.709, profile High. */
import {
  AV_CODEC_FLAG_GLOBAL_HEADER,
  AV_PIX_FMT_YUV420P,
  AVCOL_PRI_BT709,
  AVCOL_RANGE_MPEG,
  AVCOL_SPC_BT709,
  AVCOL_TRC_BT709,
  FF_ENCODER_LIBX264,
} from "node-av/constants";
import { Codec, CodecContext, Dictionary, Frame, Rational } from "node-av/lib";
import type { ImageSize } from "../image/image-size.ts";
import { type TimeBase, throwIfFailed } from "./ffmpeg.ts";

/** fal's `video_quality` as x264's constant rate factor: 18 passes for visually lossless. */
const RATE_FACTORS = { low: 32, medium: 26, high: 20, maximum: 14 } as const;
/** fal's `video_write_mode` as x264's preset. */
const PRESETS = { fast: "ultrafast", balanced: "veryfast", small: "slow" } as const;

export type VideoQuality = keyof typeof RATE_FACTORS;
export type VideoWriteMode = keyof typeof PRESETS;

export interface H264Settings {
  /** Even numbers: yuv420p has one colour per four pixels. */
  size: ImageSize;
  /** Width to height of a pixel; square when absent or 0. */
  pixelShape?: TimeBase;
  /** Unit of the frames' times. */
  timeBase: TimeBase;
  /** Frames per second; about, where frames have uneven distances. */
  fps: number;
  quality: VideoQuality;
  writeMode: VideoWriteMode;
  /** Fixed, so that the same frames give the same bytes. */
  threads: number;
}

/** Opens an encoder for frames of `newYuvFrame`. */
export async function openH264({
  size,
  pixelShape,
  timeBase,
  fps,
  quality,
  writeMode,
  threads,
}: H264Settings): Promise<CodecContext> {
  const codec = Codec.findEncoderByName(FF_ENCODER_LIBX264);
  if (!codec) throw new Error("This build of FFmpeg has no libx264.");
  const encoder = new CodecContext();
  encoder.allocContext3(codec);
  encoder.width = size.width;
  encoder.height = size.height;
  encoder.pixelFormat = AV_PIX_FMT_YUV420P;
  if (pixelShape) encoder.sampleAspectRatio = new Rational(pixelShape.num, pixelShape.den);
  encoder.timeBase = new Rational(timeBase.num, timeBase.den);
  encoder.framerate = new Rational(Math.round(fps * 1000), 1000);
  // A key frame every two seconds for seeking. No frame depends on a later one, so that the video can be cut
  // anywhere.
  encoder.gopSize = Math.max(1, Math.round(fps * 2));
  encoder.maxBFrames = 0;
  encoder.threadCount = threads;
  encoder.colorRange = AVCOL_RANGE_MPEG;
  encoder.colorSpace = AVCOL_SPC_BT709;
  encoder.colorPrimaries = AVCOL_PRI_BT709;
  encoder.colorTrc = AVCOL_TRC_BT709;
  encoder.setFlags(AV_CODEC_FLAG_GLOBAL_HEADER);
  const options = Dictionary.fromObject({
    preset: PRESETS[writeMode],
    crf: RATE_FACTORS[quality],
    profile: "high",
  });
  throwIfFailed(await encoder.open2(codec, options), "H.264 encoder");
  return encoder;
}

/** Makes an empty frame with memory for its pixels. */
export function newYuvFrame({ width, height }: ImageSize): Frame {
  const frame = new Frame();
  frame.alloc();
  frame.format = AV_PIX_FMT_YUV420P;
  frame.width = width;
  frame.height = height;
  frame.colorRange = AVCOL_RANGE_MPEG;
  frame.colorSpace = AVCOL_SPC_BT709;
  frame.colorPrimaries = AVCOL_PRI_BT709;
  frame.colorTrc = AVCOL_TRC_BT709;
  throwIfFailed(frame.getBuffer(), "memory for a frame");
  return frame;
}
