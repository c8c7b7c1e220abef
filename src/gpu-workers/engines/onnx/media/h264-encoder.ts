/** H.264 as browsers play it: yuv420p, BT.709, profile High. */
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
import { must, type TimeBase } from "./ffmpeg.ts";
import type { PictureSize } from "../image/image-size.ts";

/** fal's `video_quality` as x264's constant rate factor: 18 passes for visually lossless. */
const RATE_FACTORS = { low: 32, medium: 26, high: 20, maximum: 14 } as const;
/** fal's `video_write_mode` as x264's preset. */
const PRESETS = { fast: "ultrafast", balanced: "veryfast", small: "slow" } as const;

export type VideoQuality = keyof typeof RATE_FACTORS;
export type VideoWriteMode = keyof typeof PRESETS;

export interface H264Settings {
  /** Even numbers: yuv420p has one colour for four pixels. */
  size: PictureSize;
  /** Width to height of a pixel as it is shown; square ones when it is absent or 0. */
  pixelShape?: TimeBase;
  /** Of the frames' times. */
  timeBase: TimeBase;
  /** Frames per second, about, for frames of uneven distances. */
  fps: number;
  quality: VideoQuality;
  writeMode: VideoWriteMode;
  /** Fixed, so that the same frames give the same bytes. */
  threads: number;
}

/** An encoder for frames of `newYuvFrame`. */
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
  // A key frame every two seconds to jump to. No frame leans on a later one, so that the film can be cut
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
  must(await encoder.open2(codec, options), "H.264 encoder");
  return encoder;
}

/** An empty frame, with memory for its pixels. */
export function newYuvFrame({ width, height }: PictureSize): Frame {
  const frame = new Frame();
  frame.alloc();
  frame.format = AV_PIX_FMT_YUV420P;
  frame.width = width;
  frame.height = height;
  frame.colorRange = AVCOL_RANGE_MPEG;
  frame.colorSpace = AVCOL_SPC_BT709;
  frame.colorPrimaries = AVCOL_PRI_BT709;
  frame.colorTrc = AVCOL_TRC_BT709;
  must(frame.getBuffer(), "memory for a frame");
  return frame;
}
