/**
 * Opens videos that callers send. The files are untrusted: only a few containers and codecs are read, and no
 * file or address that they refer to.
 */
import { stat } from "node:fs/promises";
import { AVERROR_EOF, AVMEDIA_TYPE_VIDEO } from "node-av/constants";
import { Codec, CodecContext, Dictionary, FormatContext, Frame, Packet, type Stream } from "node-av/lib";
import { LIMITS } from "../../../../core/limits.ts";
import { inputFault } from "../runtime/input-error.ts";
import { isDrained, throwIfFailed } from "./ffmpeg.ts";

/** The formats as fal names them in `ctx.supported_formats`. */
const SUPPORTED_FORMATS = [".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".gif"];
/**
 * The formats by FFmpeg's names. Playlists (HLS, DASH, concat) are left out: they refer to other files and
 * addresses.
 */
const CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif";
const CODECS =
  "h264,hevc,vp8,vp9,av1,libdav1d,mpeg4,msmpeg4v3,mpeg2video,mjpeg,prores,gif,png," +
  "aac,mp3,mp3float,opus,vorbis,flac,pcm_s16le";

export interface OpenClip extends AsyncDisposable {
  format: FormatContext;
  stream: Stream;
  /** The container is MP4 or one of its relatives. */
  isMp4: boolean;
}

/**
 * Rejects with a 422 when the file is not a video that can be read.
 *
 * @param field the input's field that names the clip, for faults
 */
export async function openClip(path: string, field: string): Promise<OpenClip> {
  const { size } = await stat(path);
  if (size > LIMITS.clipBytesMax) {
    const message =
      `The video has ${count(size)} bytes, more than the ${count(LIMITS.clipBytesMax)} that are read; ` +
      "send a smaller one.";
    throw inputFault(field, "file_too_large", message, { max_size: LIMITS.clipBytesMax });
  }
  const format = new FormatContext();
  format.allocContext();
  try {
    format.maxStreams = 16;
    const options = Dictionary.fromObject({
      protocol_whitelist: "file",
      format_whitelist: CONTAINERS,
      codec_whitelist: CODECS,
    });
    if ((await format.openInput(`file:${path}`, null, options)) < 0)
      throw unsupportedVideo(field, "The file is not a video of a known format");
    if ((await format.findStreamInfo(null)) < 0) throw unsupportedVideo(field, "The video is damaged");
    const index = format.findBestStream(AVMEDIA_TYPE_VIDEO);
    const stream = format.streams[index];
    if (!stream) throw unsupportedVideo(field, "The file has no video stream");
    const { width, height } = stream.codecpar;
    if (width * height > LIMITS.clipPixelsMax) {
      throw unsupportedVideo(
        field,
        `The video has frames of ${width}x${height}, more than the ${count(LIMITS.clipPixelsMax)} pixels ` +
          "that are read; scale it down.",
      );
    }
    const isMp4 = format.iformat?.name?.split(",").includes("mp4") === true;
    return { format, stream, isMp4, [Symbol.asyncDispose]: () => close(format) };
  } catch (error) {
    await close(format);
    throw error;
  }
}

async function close(format: FormatContext): Promise<void> {
  await format.closeInput();
  format.freeContext();
}

const count = (n: number): string => n.toLocaleString("en-US");

/**
 * Makes the 422 for a video that cannot be read.
 *
 * @param reason a whole sentence; one without a full stop gets the supported formats as its remedy
 */
export function unsupportedVideo(field: string, reason: string): Error {
  const remedy = `send one of ${SUPPORTED_FORMATS.join(", ")}.`;
  return inputFault(
    field,
    "unsupported_video_format",
    reason.endsWith(".") ? reason : `${reason}; ${remedy}`,
    {
      supported_formats: SUPPORTED_FORMATS,
    },
  );
}

export function tooManyFrames(field: string): Error {
  return unsupportedVideo(
    field,
    `The video has more than the ${count(LIMITS.clipFramesMax)} frames that are read; send a shorter one.`,
  );
}

/** Reads the packets of the video stream, in the order of the file; each is freed before the next. */
export async function* videoPackets(
  { format, stream }: OpenClip,
  signal: AbortSignal,
): AsyncGenerator<Packet> {
  using packet = new Packet();
  packet.alloc();
  for (;;) {
    signal.throwIfAborted();
    packet.unref();
    const got = await format.readFrame(packet);
    // A truncated file ends where it is cut off.
    if (got < 0) return;
    if (packet.streamIndex === stream.index) yield packet;
  }
}

/** A decoded frame and its time, in seconds from the first one. */
export interface ClipFrame {
  frame: Frame;
  atSeconds: number;
}

/**
 * Decodes the frames in the order they are shown, at most `LIMITS.clipFramesMax`. A frame is valid until the
 * next one is requested. Damaged frames are left out.
 */
export async function* clipFrames(
  clip: OpenClip,
  field: string,
  threads: number,
  signal: AbortSignal,
): AsyncGenerator<ClipFrame> {
  const { stream } = clip;
  const codec = Codec.findDecoder(stream.codecpar.codecId);
  if (!codec) throw unsupportedVideo(field, "The video is in a codec that cannot be read");
  using decoder = new CodecContext();
  decoder.allocContext3(codec);
  throwIfFailed(decoder.parametersToContext(stream.codecpar), "decoder");
  decoder.pktTimebase = stream.timeBase;
  decoder.threadCount = threads;
  // The limit counts again for frames that turn out larger than the file declares.
  const options = Dictionary.fromObject({ max_pixels: LIMITS.clipPixelsMax });
  if ((await decoder.open2(codec, options)) < 0) throw unsupportedVideo(field, "The video cannot be decoded");

  const secondsPerTick = stream.timeBase.num / stream.timeBase.den;
  let first: bigint | undefined;
  let decoded = 0;
  const drain = async function* (): AsyncGenerator<ClipFrame> {
    for (;;) {
      using frame = new Frame();
      frame.alloc();
      const got = await decoder.receiveFrame(frame);
      if (isDrained(got)) return;
      if (got < 0) continue;
      if (++decoded > LIMITS.clipFramesMax) throw tooManyFrames(field);
      const ticks = frame.bestEffortTimestamp;
      first ??= ticks;
      yield { frame, atSeconds: Number(ticks - first) * secondsPerTick };
    }
  };
  for await (const packet of videoPackets(clip, signal)) {
    // Packets that cannot be decoded are skipped, as players do.
    if ((await decoder.sendPacket(packet)) >= 0) yield* drain();
  }
  const flushed = await decoder.sendPacket(null);
  if (flushed >= 0 || flushed === AVERROR_EOF) yield* drain();
}
