/**
 * Writes an MP4 file: its streams, then packets, then the index, which is moved to the front (faststart).
 */
import type { CodecContext, Packet, Stream } from "node-av/lib";
import { Dictionary, FormatContext } from "node-av/lib";
import { type TimeBase, throwIfFailed } from "./ffmpeg.ts";

export interface Mp4Muxer extends AsyncDisposable {
  /** Adds a stream for the packets of an encoder. */
  addStream(encoder: CodecContext): Stream;
  /** Adds a stream for packets that are copied from another file. */
  copyStream(source: Stream): Stream;
  /** Writes the head; to be called after the last stream was added and before the first packet. */
  begin(): Promise<void>;
  /** Writes a packet whose times are in units of `timeBase`. */
  write(packet: Packet, timeBase: TimeBase, stream: Stream): Promise<void>;
  /** Completes the file. */
  end(): Promise<void>;
}

export function openMp4(path: string): Mp4Muxer {
  const format = new FormatContext();
  throwIfFailed(format.allocOutputContext2(null, "mp4", path), "MP4");
  const newStream = (timeBase: TimeBase): Stream => {
    const stream = format.newStream(null);
    stream.timeBase = Object.assign(stream.timeBase, { num: timeBase.num, den: timeBase.den });
    return stream;
  };
  return {
    addStream(encoder) {
      const stream = newStream(encoder.timeBase);
      throwIfFailed(stream.codecpar.fromContext(encoder), "MP4 stream");
      stream.sampleAspectRatio = encoder.sampleAspectRatio;
      return stream;
    },
    copyStream(source) {
      const stream = newStream(source.timeBase);
      throwIfFailed(source.codecpar.copy(stream.codecpar), "MP4 stream");
      // The other container's four-letter name of the codec may not be valid here.
      stream.codecpar.codecTag = 0;
      return stream;
    },
    async begin() {
      throwIfFailed(await format.openOutput(), "opening the MP4 file");
      const options = Dictionary.fromObject({ movflags: "+faststart" });
      throwIfFailed(await format.writeHeader(options), "MP4 header");
    },
    async write(packet, timeBase, stream) {
      packet.streamIndex = stream.index;
      packet.rescaleTs(timeBase, stream.timeBase);
      throwIfFailed(await format.interleavedWriteFrame(packet), "MP4 packet");
    },
    async end() {
      throwIfFailed(await format.writeTrailer(), "MP4 index");
      await format.closeOutput();
    },
    async [Symbol.asyncDispose]() {
      await format.closeOutput();
      format.freeContext();
    },
  };
}
