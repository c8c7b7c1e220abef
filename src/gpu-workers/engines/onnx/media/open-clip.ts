/**
 * Opens a video that a caller sent: a stranger's file, so only a few containers and codecs, and nothing it
 * points to.
 */
import { stat } from "node:fs/promises";
import { AVERROR_EOF, AVMEDIA_TYPE_VIDEO } from "node-av/constants";
import { Codec, CodecContext, Dictionary, FormatContext, Frame, Packet, type Stream } from "node-av/lib";
import { LIMITS } from "../../../../core/limits.ts";
import { isDrained, must } from "./ffmpeg.ts";
import { inputFault } from "../runtime/input-error.ts";

/** What fal names in `ctx.supported_formats`. */
const SUPPORTED_FORMATS = [".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".gif"];
/**
 * FFmpeg's names for the same. Playlists (HLS, DASH, concat) are left out: they name other files and
 * addresses.
 */
const CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif";
const CODECS =
  "h264,hevc,vp8,vp9,av1,libdav1d,mpeg4,msmpeg4v3,mpeg2video,mjpeg,prores,gif,png,aac,mp3,mp3float,opus,vorbis,flac,pcm_s16le";

export interface OpenClip extends AsyncDisposable {
  format: FormatContext;
  stream: Stream;
  /** Whether the container is MP4 or one of its kin. */
  isMp4: boolean;
}

/**
 * @param field where the input names it, for faults. Rejects with a 422 when it is no video that can be read.
 */
export async function openClip(path: string, field: string): Promise<OpenClip> {
  const { size } = await stat(path);
  if (size > LIMITS.clipBytesMax) {
    const says = `The video has ${size.toLocaleString("en-US")} bytes, more than the ${LIMITS.clipBytesMax.toLocaleString("en-US")} that are read; send a smaller one.`;
    throw inputFault(field, "file_too_large", says, { max_size: LIMITS.clipBytesMax });
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
      throw unsupported(field, "The file is no video of a known format");
    if ((await format.findStreamInfo(null)) < 0) throw unsupported(field, "The video is damaged");
    const index = format.findBestStream(AVMEDIA_TYPE_VIDEO);
    const stream = format.streams[index];
    if (!stream) throw unsupported(field, "The file holds no picture");
    const { width, height } = stream.codecpar;
    if (width * height > LIMITS.clipPixelsMax) {
      const says = `The video has frames of ${width}x${height}, more than the ${LIMITS.clipPixelsMax.toLocaleString("en-US")} pixels that are read; scale it down.`;
      throw unsupported(field, says);
    }
    const isMp4 = format.iformat?.name?.split(",").includes("mp4") === true;
    return { format, stream, isMp4, [Symbol.asyncDispose]: () => close(format) };
  } catch (error) {
    await close(format);
    throw error;
  }
}

const close = async (format: FormatContext): Promise<void> => {
  await format.closeInput();
  format.freeContext();
};

export const unsupported = (field: string, says: string): Error =>
  inputFault(
    field,
    "unsupported_video_format",
    says.endsWith(".") ? says : `${says}; send one of ${SUPPORTED_FORMATS.join(", ")}.`,
    {
      supported_formats: SUPPORTED_FORMATS,
    },
  );

/** Packets of the picture, in the order of the file; each is freed before the next. */
export async function* picturePackets(
  { format, stream }: OpenClip,
  signal: AbortSignal,
): AsyncGenerator<Packet> {
  using packet = new Packet();
  packet.alloc();
  for (;;) {
    signal.throwIfAborted();
    packet.unref();
    const got = await format.readFrame(packet);
    // A file that breaks off ends where it breaks off.
    if (got < 0) return;
    if (packet.streamIndex === stream.index) yield packet;
  }
}

/** A decoded frame and when it is shown, in seconds from the first one on. */
export interface ClipFrame {
  frame: Frame;
  atSeconds: number;
}

/**
 * Frames in the order they are shown, at most `LIMITS.clipFramesMax`. A frame is the consumer's until it asks
 * for the next one. Damaged frames are left out.
 */
export async function* clipFrames(
  clip: OpenClip,
  field: string,
  threads: number,
  signal: AbortSignal,
): AsyncGenerator<ClipFrame> {
  const { stream } = clip;
  const codec = Codec.findDecoder(stream.codecpar.codecId);
  if (!codec) throw unsupported(field, "The video is in a codec that cannot be read");
  using decoder = new CodecContext();
  decoder.allocContext3(codec);
  must(decoder.parametersToContext(stream.codecpar), "decoder");
  decoder.pktTimebase = stream.timeBase;
  decoder.threadCount = threads;
  // Also for frames that turn out larger than the file says of them.
  const options = Dictionary.fromObject({ max_pixels: LIMITS.clipPixelsMax });
  if ((await decoder.open2(codec, options)) < 0) throw unsupported(field, "The video cannot be decoded");

  const secondsPerTick = stream.timeBase.num / stream.timeBase.den;
  let first: bigint | undefined;
  let count = 0;
  const drain = async function* (): AsyncGenerator<ClipFrame> {
    for (;;) {
      using frame = new Frame();
      frame.alloc();
      const got = await decoder.receiveFrame(frame);
      if (isDrained(got)) return;
      if (got < 0) continue;
      if (++count > LIMITS.clipFramesMax) {
        throw unsupported(
          field,
          `The video has more than the ${LIMITS.clipFramesMax.toLocaleString("en-US")} frames that are read; send a shorter one.`,
        );
      }
      const ticks = frame.bestEffortTimestamp;
      first ??= ticks;
      yield { frame, atSeconds: Number(ticks - first) * secondsPerTick };
    }
  };
  for await (const packet of picturePackets(clip, signal)) {
    // What cannot be decoded is passed over, as players do.
    if ((await decoder.sendPacket(packet)) >= 0) yield* drain();
  }
  const flushed = await decoder.sendPacket(null);
  if (flushed >= 0 || flushed === AVERROR_EOF) yield* drain();
}
