/** A clip's picture with another sound: an MP4 with H.264 and AAC. */
import { readFile } from "node:fs/promises";
import {
  AV_CHANNEL_ORDER_NATIVE,
  AV_CODEC_FLAG_GLOBAL_HEADER,
  AV_CODEC_ID_H264,
  AV_PIX_FMT_YUV420P,
  AV_PIX_FMT_YUVJ420P,
  AV_PKT_DATA_DISPLAYMATRIX,
  AV_SAMPLE_FMT_FLTP,
  FF_ENCODER_AAC,
  SWS_BICUBIC,
} from "node-av/constants";
import {
  Codec,
  CodecContext,
  Frame,
  type Packet,
  Rational,
  SoftwareScaleContext,
  type Stream,
} from "node-av/lib";
import { encodeFrame, must, temporaryFile } from "./ffmpeg.ts";
import { newYuvFrame, openH264 } from "./h264-encoder.ts";
import { type Mp4Muxer, openMp4 } from "./mp4-muxer.ts";
import { clipFrames, type OpenClip, openClip, picturePackets } from "./open-clip.ts";

export interface SoundToAdd {
  /** The clip; what it sounded like is left out. */
  path: string;
  /** Where the input names it. */
  field: string;
  /** How much of it is kept. */
  seconds: number;
  /** It goes on after that. */
  isCut: boolean;
  /** Some of its frames are not shown. */
  hidesFrames: boolean;
  /** Mono, -1..1. */
  samples: Float32Array;
  sampleRate: number;
  threads: number;
  signal: AbortSignal;
}

export interface ClipWithSound {
  bytes: Buffer;
  width: number;
  height: number;
  /** The picture is the clip's own, bit for bit; else it was encoded again. */
  isCopied: boolean;
}

const AAC_BITS_PER_SECOND = 64_000n;
/** One channel, in the middle: FFmpeg's native order, bit "front center". */
const MONO = { nbChannels: 1, order: AV_CHANNEL_ORDER_NATIVE, mask: 4n };

export async function addSound(asked: SoundToAdd): Promise<ClipWithSound> {
  const { path, field, seconds, samples, sampleRate, threads, signal } = asked;
  await using clip = await openClip(path, field);
  await using file = await temporaryFile("video.mp4");
  await using mp4 = openMp4(file.path);
  const write = isCopyable(clip, asked) ? copyPicture : encodePicture;
  const picture = await write(clip, mp4, { field, seconds, threads, signal });
  await using _ = picture;
  using sound = await openSound(mp4, samples, sampleRate);
  await mp4.begin();
  await picture.write((atSeconds) => sound.writeUntil(atSeconds));
  await sound.writeUntil(Number.POSITIVE_INFINITY);
  await mp4.end();
  return { bytes: await readFile(file.path), ...picture.size, isCopied: write === copyPicture };
}

/**
 * An H.264 picture from an MP4 is copied, unless it must be cut where frames lean on later ones, or lean on
 * some that are not shown.
 */
function isCopyable({ isMp4, stream }: OpenClip, { isCut, hidesFrames }: SoundToAdd): boolean {
  const { codecId, format, videoDelay } = stream.codecpar;
  const isPlayable =
    codecId === AV_CODEC_ID_H264 && (format === AV_PIX_FMT_YUV420P || format === AV_PIX_FMT_YUVJ420P);
  return isMp4 && isPlayable && !hidesFrames && !(isCut && videoDelay > 0);
}

interface Picture extends AsyncDisposable {
  size: { width: number; height: number };
  /** `before` is awaited with the time of each packet, so that the sound is written beside it. */
  write(before: (atSeconds: number) => Promise<void>): Promise<void>;
}

type PictureSource = (
  clip: OpenClip,
  mp4: Mp4Muxer,
  how: Pick<SoundToAdd, "field" | "seconds" | "threads" | "signal">,
) => Promise<Picture>;

const copyPicture: PictureSource = async (clip, mp4, { seconds, signal }) => {
  const { stream } = clip;
  const target = mp4.copyStream(stream);
  const secondsPerTick = stream.timeBase.num / stream.timeBase.den;
  return {
    size: { width: stream.codecpar.width, height: stream.codecpar.height },
    async write(before) {
      let start: bigint | undefined;
      for await (const packet of picturePackets(clip, signal)) {
        start ??= packet.pts;
        packet.pts -= start;
        packet.dts -= start;
        const atSeconds = Number(packet.pts) * secondsPerTick;
        if (atSeconds >= seconds - 0.0005 && stream.codecpar.videoDelay === 0) return;
        await before(atSeconds);
        await mp4.write(packet, stream.timeBase, target);
      }
    },
    [Symbol.asyncDispose]: async () => {},
  };
};

const encodePicture: PictureSource = async (clip, mp4, { field, seconds, threads, signal }) => {
  const { stream } = clip;
  const size = { width: evenly(stream.codecpar.width), height: evenly(stream.codecpar.height) };
  const { num, den } = stream.avgFrameRate;
  const fps = num > 0 && den > 0 ? num / den : 25;
  const pixelShape =
    stream.sampleAspectRatio.num > 0 ? stream.sampleAspectRatio : stream.codecpar.sampleAspectRatio;
  const encoder = await openH264({
    size,
    pixelShape,
    timeBase: stream.timeBase,
    fps,
    quality: "high",
    writeMode: "balanced",
    threads,
  });
  const target = mp4.addStream(encoder);
  keepRotation(stream, target);
  const scale = new SoftwareScaleContext();
  scale.allocContext();
  must(scale.setOption("sws_flags", SWS_BICUBIC), "scaling");
  const ticksPerSecond = stream.timeBase.den / stream.timeBase.num;
  const usualTicks = BigInt(Math.max(1, Math.round(ticksPerSecond / fps)));
  return {
    size,
    async write(before) {
      const take = async (packet: Packet) => {
        if (packet.duration <= 0n) packet.duration = usualTicks;
        await before(Number(packet.pts) / ticksPerSecond);
        await mp4.write(packet, encoder.timeBase, target);
      };
      let last = -1n;
      for await (const { frame, atSeconds } of clipFrames(clip, field, threads, signal)) {
        if (atSeconds >= seconds - 0.0005) break;
        const at = BigInt(Math.round(atSeconds * ticksPerSecond));
        // Two at one moment: the first stays.
        if (at <= last) continue;
        last = at;
        using picture = newYuvFrame(size);
        must(scale.scaleFrameSync(picture, frame), "scaling");
        picture.pts = at;
        await encodeFrame(encoder, picture, take);
      }
      await encodeFrame(encoder, null, take);
    },
    async [Symbol.asyncDispose]() {
      scale.freeContext();
      encoder.freeContext();
    },
  };
};

const evenly = (length: number): number => Math.max(2, Math.floor(length / 2) * 2);

/** Telephones store pictures lying and say how to turn them. */
function keepRotation(source: Stream, target: Stream): void {
  const matrix = source.codecpar.getCodedSideData(AV_PKT_DATA_DISPLAYMATRIX);
  if (matrix) must(target.codecpar.addCodedSideData(AV_PKT_DATA_DISPLAYMATRIX, matrix), "rotation");
}

interface Sound extends Disposable {
  /** Writes what sounds before a moment. */
  writeUntil(atSeconds: number): Promise<void>;
}

async function openSound(mp4: Mp4Muxer, samples: Float32Array, sampleRate: number): Promise<Sound> {
  const codec = Codec.findEncoderByName(FF_ENCODER_AAC);
  if (!codec) throw new Error("This build of FFmpeg has no AAC encoder.");
  const encoder = new CodecContext();
  encoder.allocContext3(codec);
  encoder.sampleFormat = AV_SAMPLE_FMT_FLTP;
  encoder.sampleRate = sampleRate;
  encoder.channelLayout = MONO;
  encoder.bitRate = AAC_BITS_PER_SECOND;
  encoder.timeBase = new Rational(1, sampleRate);
  encoder.setFlags(AV_CODEC_FLAG_GLOBAL_HEADER);
  must(await encoder.open2(codec, null), "AAC encoder");
  const stream = mp4.addStream(encoder);
  const take = (packet: Packet) => mp4.write(packet, encoder.timeBase, stream);
  let at = 0;
  let ended = false;
  return {
    async writeUntil(atSeconds) {
      while (at < samples.length && at / sampleRate <= atSeconds) {
        const part = samples.slice(at, at + encoder.frameSize);
        using frame = Frame.fromAudioBuffer(Buffer.from(part.buffer), {
          nbSamples: part.length,
          format: AV_SAMPLE_FMT_FLTP,
          sampleRate,
          channelLayout: MONO,
          timeBase: { num: 1, den: sampleRate },
        });
        frame.pts = BigInt(at);
        at += part.length;
        await encodeFrame(encoder, frame, take);
      }
      if (at < samples.length || ended) return;
      ended = true;
      await encodeFrame(encoder, null, take);
    },
    [Symbol.dispose]: () => encoder.freeContext(),
  };
}
