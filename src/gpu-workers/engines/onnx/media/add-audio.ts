/** Replaces the audio of a clip: an MP4 with H.264 and AAC. */
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
import { encodeFrame, temporaryFile, throwIfFailed } from "./ffmpeg.ts";
import { newYuvFrame, openH264 } from "./h264-encoder.ts";
import { type Mp4Muxer, openMp4 } from "./mp4-muxer.ts";
import { clipFrames, type OpenClip, openClip, videoPackets } from "./open-clip.ts";

export interface AudioToAdd {
  /** The clip; its own audio is left out. */
  path: string;
  /** The input's field that names the clip, for faults. */
  field: string;
  /** The length that is kept. */
  seconds: number;
  /** The clip goes on after `seconds`. */
  isCut: boolean;
  /** The file holds frames that are not shown. */
  hidesFrames: boolean;
  /** Mono, -1..1, at `sampleRate`. */
  samples: Float32Array;
  sampleRate: number;
  threads: number;
  signal: AbortSignal;
}

export interface ClipWithAudio {
  bytes: Buffer;
  width: number;
  height: number;
  /** The video stream is the clip's own, bit for bit; else it was encoded again. */
  isCopied: boolean;
}

const AAC_BITS_PER_SECOND = 64_000n;
/** One channel in the middle: FFmpeg's native order, bit "front center". */
const MONO = { nbChannels: 1, order: AV_CHANNEL_ORDER_NATIVE, mask: 4n };

/** The latest time, in seconds, that a frame may be early at the cut and still belong after it. */
const CUT_TOLERANCE_SECONDS = 0.0005;

/** Rejects with a 422 that names `field` for a clip that cannot be read, and with the signal's reason. */
export async function addAudio(request: AudioToAdd): Promise<ClipWithAudio> {
  const { path, field, seconds, samples, sampleRate, threads, signal } = request;
  await using clip = await openClip(path, field);
  await using file = await temporaryFile("video.mp4");
  await using mp4 = openMp4(file.path);
  const openVideo = isCopyable(clip, request) ? copyVideo : encodeVideo;
  await using video = await openVideo(clip, mp4, { field, seconds, threads, signal });
  using audio = await openAudio(mp4, samples, sampleRate);
  await mp4.begin();
  await video.write((atSeconds) => audio.writeUntil(atSeconds));
  await audio.writeUntil(Number.POSITIVE_INFINITY);
  await mp4.end();
  return { bytes: await readFile(file.path), ...video.size, isCopied: openVideo === copyVideo };
}

/**
 * Tells whether the video stream can be copied: H.264 from an MP4, unless it must be cut while frames depend
 * on later ones, or frames depend on some that are not shown.
 */
function isCopyable({ isMp4, stream }: OpenClip, { isCut, hidesFrames }: AudioToAdd): boolean {
  const { codecId, format, videoDelay } = stream.codecpar;
  const isPlayable =
    codecId === AV_CODEC_ID_H264 && (format === AV_PIX_FMT_YUV420P || format === AV_PIX_FMT_YUVJ420P);
  return isMp4 && isPlayable && !hidesFrames && !(isCut && videoDelay > 0);
}

/** The video stream of the new file. */
interface VideoTrack extends AsyncDisposable {
  size: { width: number; height: number };
  /**
   * Writes every packet; `before` is awaited with the time of each, so that the audio is written beside it.
   */
  write(before: (atSeconds: number) => Promise<void>): Promise<void>;
}

type VideoSource = (
  clip: OpenClip,
  mp4: Mp4Muxer,
  options: Pick<AudioToAdd, "field" | "seconds" | "threads" | "signal">,
) => Promise<VideoTrack>;

const copyVideo: VideoSource = async (clip, mp4, { seconds, signal }) => {
  const { stream } = clip;
  const target = mp4.copyStream(stream);
  const secondsPerTick = stream.timeBase.num / stream.timeBase.den;
  return {
    size: { width: stream.codecpar.width, height: stream.codecpar.height },
    async write(before) {
      let start: bigint | undefined;
      for await (const packet of videoPackets(clip, signal)) {
        start ??= packet.pts;
        packet.pts -= start;
        packet.dts -= start;
        const atSeconds = Number(packet.pts) * secondsPerTick;
        if (atSeconds >= seconds - CUT_TOLERANCE_SECONDS && stream.codecpar.videoDelay === 0) return;
        await before(atSeconds);
        await mp4.write(packet, stream.timeBase, target);
      }
    },
    [Symbol.asyncDispose]: async () => {},
  };
};

const encodeVideo: VideoSource = async (clip, mp4, { field, seconds, threads, signal }) => {
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
  throwIfFailed(scale.setOption("sws_flags", SWS_BICUBIC), "scaling");
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
        if (atSeconds >= seconds - CUT_TOLERANCE_SECONDS) break;
        const ticks = BigInt(Math.round(atSeconds * ticksPerSecond));
        // Of two frames at one time the first stays.
        if (ticks <= last) continue;
        last = ticks;
        using scaled = newYuvFrame(size);
        throwIfFailed(scale.scaleFrameSync(scaled, frame), "scaling");
        scaled.pts = ticks;
        await encodeFrame(encoder, scaled, take);
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

/** Copies the rotation: telephones store frames on their side, with the angle to turn them by. */
function keepRotation(source: Stream, target: Stream): void {
  const matrix = source.codecpar.getCodedSideData(AV_PKT_DATA_DISPLAYMATRIX);
  if (matrix) throwIfFailed(target.codecpar.addCodedSideData(AV_PKT_DATA_DISPLAYMATRIX, matrix), "rotation");
}

/** The audio stream of the new file. */
interface AudioTrack extends Disposable {
  /** Writes the samples before a time, in seconds. */
  writeUntil(atSeconds: number): Promise<void>;
}

async function openAudio(mp4: Mp4Muxer, samples: Float32Array, sampleRate: number): Promise<AudioTrack> {
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
  throwIfFailed(await encoder.open2(codec, null), "AAC encoder");
  const stream = mp4.addStream(encoder);
  const take = (packet: Packet) => mp4.write(packet, encoder.timeBase, stream);
  let written = 0;
  let ended = false;
  return {
    async writeUntil(atSeconds) {
      while (written < samples.length && written / sampleRate <= atSeconds) {
        const part = samples.slice(written, written + encoder.frameSize);
        using frame = Frame.fromAudioBuffer(Buffer.from(part.buffer), {
          nbSamples: part.length,
          format: AV_SAMPLE_FMT_FLTP,
          sampleRate,
          channelLayout: MONO,
          timeBase: { num: 1, den: sampleRate },
        });
        frame.pts = BigInt(written);
        written += part.length;
        await encodeFrame(encoder, frame, take);
      }
      if (written < samples.length || ended) return;
      ended = true;
      await encodeFrame(encoder, null, take);
    },
    [Symbol.dispose]: () => encoder.freeContext(),
  };
}
