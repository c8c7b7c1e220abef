/** A whole short clip, decoded: for those who judge what a model made. */
import {
  AV_PIX_FMT_RGB24,
  AV_SAMPLE_FMT_FLT,
  AV_SAMPLE_FMT_FLTP,
  AVMEDIA_TYPE_AUDIO,
  SWS_AREA,
} from "node-av/constants";
import { Codec, CodecContext, Frame, Packet, SoftwareScaleContext } from "node-av/lib";
import { isDrained, must } from "./ffmpeg.ts";
import { clipFrames, openClip } from "./open-clip.ts";
import type { PictureSize } from "../image/image-size.ts";

export interface DecodedClip {
  width: number;
  height: number;
  /** Frames per second, as the file has it. */
  fps: number;
  /** When each frame is shown, in seconds from the first. */
  timesSeconds: number[];
  /** RGB, 8 bits, row by row. */
  frames: Buffer[];
  /** The first channel of the sound, -1..1. */
  sound?: { samples: Float32Array; sampleRate: number };
  /** As the file names them: `avc1`, `mp4a`. */
  codecs: string[];
}

/** @param size to scale its frames to; their own when left out */
export async function decodeClip(path: string, size?: PictureSize): Promise<DecodedClip> {
  const signal = new AbortController().signal;
  await using clip = await openClip(path, "clip");
  const { width, height } = size ?? clip.stream.codecpar;
  const { num, den } = clip.stream.avgFrameRate;
  using scale = new SoftwareScaleContext();
  scale.allocContext();
  if (size) must(scale.setOption("sws_flags", SWS_AREA), "scaling");
  const [frames, timesSeconds]: [Buffer[], number[]] = [[], []];
  for await (const { frame, atSeconds } of clipFrames(clip, "clip", 2, signal)) {
    using rgb = new Frame();
    rgb.alloc();
    rgb.format = AV_PIX_FMT_RGB24;
    rgb.width = width;
    rgb.height = height;
    // With room at the end of each row: it converts eight pixels at a time, and leaves out the last ones
    // where it cannot.
    must(rgb.getBuffer(), "memory for a frame");
    must(scale.scaleFrameSync(rgb, frame), "converting");
    frames.push(rgb.toBuffer());
    timesSeconds.push(atSeconds);
  }
  const sound = await decodeSound(path);
  const codecs = clip.format.streams.map(({ codecpar }) => codecpar.codecTagString ?? "");
  return { width, height, fps: num / den, timesSeconds, frames, ...(sound && { sound }), codecs };
}

async function decodeSound(path: string): Promise<DecodedClip["sound"]> {
  await using clip = await openClip(path, "clip");
  const { format } = clip;
  const stream = format.streams[format.findBestStream(AVMEDIA_TYPE_AUDIO)];
  const codec = stream && Codec.findDecoder(stream.codecpar.codecId);
  if (!stream || !codec) return undefined;
  using decoder = new CodecContext();
  decoder.allocContext3(codec);
  must(decoder.parametersToContext(stream.codecpar), "decoder");
  decoder.pktTimebase = stream.timeBase;
  must(await decoder.open2(codec, null), "decoder");
  using packet = new Packet();
  packet.alloc();
  const parts: Float32Array[] = [];
  for (let more = true; more; ) {
    packet.unref();
    more = (await format.readFrame(packet)) >= 0;
    if (more && packet.streamIndex !== stream.index) continue;
    must(await decoder.sendPacket(more ? packet : null), "decoding");
    for (;;) {
      using frame = new Frame();
      frame.alloc();
      const got = await decoder.receiveFrame(frame);
      if (isDrained(got)) break;
      must(got, "decoding");
      if (frame.format !== AV_SAMPLE_FMT_FLTP && frame.format !== AV_SAMPLE_FMT_FLT)
        throw new Error("The sound is not decoded to floats.");
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
