/**
 * FFmpeg inside this process, by node-av. Its binary is under the GPL, so only engine programs load it, each
 * a process of its own (docs/decisions/0017). Its work runs on threads of its own: the event loop goes on.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AV_LOG_FATAL, AVERROR_EAGAIN, AVERROR_EOF } from "node-av/constants";
import { type CodecContext, FFmpegError, type Frame, Log, Packet } from "node-av/lib";

// What it says of files that callers sent is nothing for an operator's log.
Log.setLevel(AV_LOG_FATAL);

/** Seconds per unit of a stream's time, as a fraction. */
export interface TimeBase {
  num: number;
  den: number;
}

/** @throws an FFmpegError when an FFmpeg call answered with an error; `doing` says what was tried */
export function must(code: number, doing: string): void {
  if (code < 0) throw new Error(`${doing}: ${FFmpegError.strerror(code)}`);
}

/** Whether a codec has nothing more to give: for now, or at all. */
export const isDrained = (code: number): boolean => code === AVERROR_EAGAIN || code === AVERROR_EOF;

/**
 * Gives an encoder a frame, or its end, and hands on the packets that are ready; each is freed when `take` is
 * done.
 */
export async function encodeFrame(
  encoder: CodecContext,
  frame: Frame | null,
  take: (packet: Packet) => Promise<void>,
): Promise<void> {
  must(await encoder.sendFrame(frame), "encoding");
  for (;;) {
    using packet = new Packet();
    packet.alloc();
    const got = await encoder.receivePacket(packet);
    if (isDrained(got)) return;
    must(got, "encoding");
    await take(packet);
  }
}

/** A file in a folder of its own, which goes with it. */
export async function temporaryFile(name: string): Promise<AsyncDisposable & { path: string }> {
  const folder = await mkdtemp(join(tmpdir(), "tempera-video-"));
  return {
    path: join(folder, name),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}
