/**
 * An MP4 file as it is written: its streams, then packets, then the index, which is moved to the front
 * (faststart).
 */
import type { CodecContext, Packet, Stream } from "node-av/lib";
import { Dictionary, FormatContext } from "node-av/lib";
import { must, type TimeBase } from "./ffmpeg.ts";

export interface Mp4Muxer extends AsyncDisposable {
  /** A stream of what an encoder gives. */
  addStream(encoder: CodecContext): Stream;
  /** A stream whose packets come from another file as they are. */
  copyStream(source: Stream): Stream;
  /** Call after the last stream was added and before the first packet. */
  begin(): Promise<void>;
  /** `timeBase` is that of the packet's times. */
  write(packet: Packet, timeBase: TimeBase, stream: Stream): Promise<void>;
  /** The file is complete after this. */
  end(): Promise<void>;
}

export function openMp4(path: string): Mp4Muxer {
  const format = new FormatContext();
  must(format.allocOutputContext2(null, "mp4", path), "MP4");
  const newStream = (timeBase: TimeBase): Stream => {
    const stream = format.newStream(null);
    stream.timeBase = Object.assign(stream.timeBase, { num: timeBase.num, den: timeBase.den });
    return stream;
  };
  return {
    addStream(encoder) {
      const stream = newStream(encoder.timeBase);
      must(stream.codecpar.fromContext(encoder), "MP4 stream");
      stream.sampleAspectRatio = encoder.sampleAspectRatio;
      return stream;
    },
    copyStream(source) {
      const stream = newStream(source.timeBase);
      must(source.codecpar.copy(stream.codecpar), "MP4 stream");
      // The four letters by which the other container named the codec.
      stream.codecpar.codecTag = 0;
      return stream;
    },
    async begin() {
      must(await format.openOutput(), "opening the MP4 file");
      must(await format.writeHeader(Dictionary.fromObject({ movflags: "+faststart" })), "MP4 header");
    },
    async write(packet, timeBase, stream) {
      packet.streamIndex = stream.index;
      packet.rescaleTs(timeBase, stream.timeBase);
      must(await format.interleavedWriteFrame(packet), "MP4 packet");
    },
    async end() {
      must(await format.writeTrailer(), "MP4 index");
      await format.closeOutput();
    },
    async [Symbol.asyncDispose]() {
      await format.closeOutput();
      format.freeContext();
    },
  };
}
