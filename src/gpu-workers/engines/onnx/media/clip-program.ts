/**
 * FFmpeg for those who must not load it: forked, it decodes and writes clips for who sends it messages.
 * `src/evaluation/clip-files.ts` is the other end.
 */
import { writeFile } from "node:fs/promises";
import { type DecodedClip, decodeClip } from "./decode-clip.ts";
import type { PictureSize } from "../image/image-size.ts";
import { writeVideo } from "./write-video.ts";

export type ClipRequest =
  | { verb: "decode"; path: string; size?: PictureSize }
  | { verb: "write"; path: string; size: PictureSize; fps: number; frames: Uint8Array[] };

export type ClipAnswer = { clip: DecodedClip } | { written: true } | { error: string };

async function answer(request: ClipRequest): Promise<ClipAnswer> {
  try {
    if (request.verb === "decode") return { clip: await decodeClip(request.path, request.size) };
    const { path, size, fps, frames } = request;
    const signal = new AbortController().signal;
    // Messages bring bytes as plain arrays of them.
    const pictures = frames.map((frame) => Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength));
    const bytes = await writeVideo({
      frames: pictures,
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
  const answered = await answer(request);
  process.send?.({ id, answer: answered });
});
