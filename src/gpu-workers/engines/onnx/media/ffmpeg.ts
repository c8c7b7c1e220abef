/**
 * FFmpeg inside this process, by node-av. Its binary is under the GPL, so only engine programs load it, each
 * a process of its own (docs/decisions/0017). FFmpeg works on its own threads; the event loop goes on.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AV_LOG_FATAL, AVERROR_EAGAIN, AVERROR_EOF } from "node-av/constants";
import { type CodecContext, FFmpegError, type Frame, Log, Packet } from "node-av/lib";

// Its messages about files of callers do not belong in an operator's log.
Log.setLevel(AV_LOG_FATAL);

/** Seconds per unit of a stream's time, as a fraction. */
export interface TimeBase {
  num: number;
  den: number;
}

/** @throws an error with FFmpeg's text when its call returned an error code; `doing` names the attempt */
export function throwIfFailed(code: number, doing: string): void {
  if (code < 0) throw new Error(`${doing}: ${FFmpegError.strerror(code)}`);
}

/** Tells whether a codec has nothing more to give, for now or for good. */
export function isDrained(code: number): boolean {
  return code === AVERROR_EAGAIN || code === AVERROR_EOF;
}

/**
 * Gives an encoder a frame, or null at the end, and passes on the packets that are ready; each is freed when
 * `take` is done.
 */
export async function encodeFrame(
  encoder: CodecContext,
  frame: Frame | null,
  take: (packet: Packet) => Promise<void>,
): Promise<void> {
  throwIfFailed(await encoder.sendFrame(frame), "encoding");
  for (;;) {
    using packet = new Packet();
    packet.alloc();
    const got = await encoder.receivePacket(packet);
    if (isDrained(got)) return;
    throwIfFailed(got, "encoding");
    await take(packet);
  }
}

/** Names a file in a new folder; disposing removes both. */
export async function temporaryFile(name: string): Promise<AsyncDisposable & { path: string }> {
  const folder = await mkdtemp(join(tmpdir(), "tempera-video-"));
  return {
    path: join(folder, name),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}
