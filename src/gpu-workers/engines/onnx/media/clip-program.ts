/**
 * A program that decodes and writes clips for processes that must not load FFmpeg: they fork it and send it
 * messages. `src/evaluation/clip-files.ts` is the other end.
 */
import { writeFile } from "node:fs/promises";
import type { ImageSize } from "../image/image-size.ts";
import { type DecodedClip, decodeClip } from "./decode-clip.ts";
import { writeVideo } from "./write-video.ts";

export type ClipRequest =
  | { action: "decode"; path: string; size?: ImageSize }
  | { action: "write"; path: string; size: ImageSize; fps: number; frames: Uint8Array[] };

export type ClipReply = { clip: DecodedClip } | { written: true } | { error: string };

async function reply(request: ClipRequest): Promise<ClipReply> {
  try {
    if (request.action === "decode") return { clip: await decodeClip(request.path, request.size) };
    const { path, size, fps, frames } = request;
    const signal = new AbortController().signal;
    // Messages carry bytes as plain arrays.
    const buffers = frames.map((frame) => Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength));
    const bytes = await writeVideo({
      frames: buffers,
      from: size,
      size,
      fps,
      quality: "maximum",
      writeMode: "fast",
      threads: 1,
      signal,
    });
    await writeFile(path, bytes);
    return { written: true };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

process.on("message", async ({ id, request }: { id: number; request: ClipRequest }) => {
  process.send?.({ id, reply: await reply(request) });
});
