/** Decodes a whole short clip, for evaluations and tests of models. */
import {
  AV_PIX_FMT_RGB24,
  AV_SAMPLE_FMT_FLT,
  AV_SAMPLE_FMT_FLTP,
  AVMEDIA_TYPE_AUDIO,
  SWS_AREA,
} from "node-av/constants";
import { Codec, CodecContext, Frame, Packet, SoftwareScaleContext } from "node-av/lib";
import type { ImageSize } from "../image/image-size.ts";
import { isDrained, throwIfFailed } from "./ffmpeg.ts";
import { clipFrames, openClip } from "./open-clip.ts";

export interface DecodedClip {
  width: number;
  height: number;
  /** Frames per second, as the file declares it. */
  fps: number;
  /** The time of each frame, in seconds from the first. */
  timesSeconds: number[];
  /** RGB, 8 bits, row by row. */
  frames: Buffer[];
  /** The first audio channel, -1..1. */
  audio?: { samples: Float32Array; sampleRate: number };
  /** The codecs as the file names them: `avc1`, `mp4a`. */
  codecs: string[];
}

/** @param size to scale the frames to; their own when left out */
export async function decodeClip(path: string, size?: ImageSize): Promise<DecodedClip> {
  const signal = new AbortController().signal;
  await using clip = await openClip(path, "clip");
  const { width, height } = size ?? clip.stream.codecpar;
  const { num, den } = clip.stream.avgFrameRate;
  using scale = new SoftwareScaleContext();
  scale.allocContext();
  if (size) throwIfFailed(scale.setOption("sws_flags", SWS_AREA), "scaling");
  const [frames, timesSeconds]: [Buffer[], number[]] = [[], []];
  for await (const { frame, atSeconds } of clipFrames(clip, "clip", 2, signal)) {
    using rgb = new Frame();
    rgb.alloc();
    rgb.format = AV_PIX_FMT_RGB24;
    rgb.width = width;
    rgb.height = height;
    // Rows are padded: the scaler converts eight pixels at a time, and skips the last ones where it cannot.
    throwIfFailed(rgb.getBuffer(), "memory for a frame");
    throwIfFailed(scale.scaleFrameSync(rgb, frame), "converting");
    frames.push(rgb.toBuffer());
    timesSeconds.push(atSeconds);
  }
  const audio = await decodeAudio(path);
  const codecs = clip.format.streams.map(({ codecpar }) => codecpar.codecTagString ?? "");
  return { width, height, fps: num / den, timesSeconds, frames, ...(audio && { audio }), codecs };
}

async function decodeAudio(path: string): Promise<DecodedClip["audio"]> {
  await using clip = await openClip(path, "clip");
  const { format } = clip;
  const stream = format.streams[format.findBestStream(AVMEDIA_TYPE_AUDIO)];
  const codec = stream && Codec.findDecoder(stream.codecpar.codecId);
  if (!stream || !codec) return undefined;
  using decoder = new CodecContext();
  decoder.allocContext3(codec);
  throwIfFailed(decoder.parametersToContext(stream.codecpar), "decoder");
  decoder.pktTimebase = stream.timeBase;
  throwIfFailed(await decoder.open2(codec, null), "decoder");
  using packet = new Packet();
  packet.alloc();
  const parts: Float32Array[] = [];
  for (let more = true; more; ) {
    packet.unref();
    more = (await format.readFrame(packet)) >= 0;
    if (more && packet.streamIndex !== stream.index) continue;
    throwIfFailed(await decoder.sendPacket(more ? packet : null), "decoding");
    for (;;) {
      using frame = new Frame();
      frame.alloc();
      const got = await decoder.receiveFrame(frame);
      if (isDrained(got)) break;
      throwIfFailed(got, "decoding");
      if (frame.format !== AV_SAMPLE_FMT_FLTP && frame.format !== AV_SAMPLE_FMT_FLT)
        throw new Error("The audio is not decoded to floats.");
      const bytes = frame.data?.[0] as Buffer;
      const step = frame.format === AV_SAMPLE_FMT_FLTP ? 1 : frame.channels;
      parts.push(Float32Array.from({ length: frame.nbSamples }, (_, i) => bytes.readFloatLE(i * step * 4)));
    }
  }
  const samples = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    samples.set(part, at);
    at += part.length;
  }
  return { samples, sampleRate: stream.codecpar.sampleRate };
}
