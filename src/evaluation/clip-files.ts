/**
 * Reads and writes clips through a separate program, so that FFmpeg, which is under the GPL, is never loaded
 * here.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { ImageSize } from "../gpu-workers/engines/onnx/image/image-size.ts";
import type { ClipReply, ClipRequest } from "../gpu-workers/engines/onnx/media/clip-program.ts";
import type { DecodedClip } from "../gpu-workers/engines/onnx/media/decode-clip.ts";

export type { DecodedClip };

export interface ClipFiles extends AsyncDisposable {
  /** Decodes a whole clip; scales its frames when a size is given. Rejects for a file that is not a clip. */
  decode(path: string, size?: ImageSize): Promise<DecodedClip>;
  /** Writes an MP4 of frames: RGB, 8 bits, row by row. */
  write(path: string, size: ImageSize, fps: number, frames: Uint8Array[]): Promise<void>;
}

export function openClipFiles(): ClipFiles {
  const program = fileURLToPath(
    new URL("../gpu-workers/engines/onnx/media/clip-program.ts", import.meta.url),
  );
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
  const child = fork(program, { execArgv: ["--import", tsx], serialization: "advanced" });
  const waiting = new Map<number, { resolve: (reply: ClipReply) => void; reject: (error: Error) => void }>();
  child.on("message", ({ id, reply }: { id: number; reply: ClipReply }) => {
    waiting.get(id)?.resolve(reply);
    waiting.delete(id);
  });
  const exited = once(child, "exit").then(() => {
    for (const { reject } of waiting.values()) reject(new Error("The program that reads clips exited."));
  });
  let count = 0;
  const send = async (request: ClipRequest): Promise<ClipReply> => {
    const id = count++;
    const reply = await new Promise<ClipReply>((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      child.send({ id, request });
    });
    if ("error" in reply) throw new Error(reply.error);
    return reply;
  };
  return {
    async decode(path, size) {
      const reply = await send({ action: "decode", path, ...(size && { size }) });
      if (!("clip" in reply)) throw new Error("The program that reads clips returned no clip.");
      return reply.clip;
    },
    async write(path, size, fps, frames) {
      await send({ action: "write", path, size, fps, frames });
    },
    async [Symbol.asyncDispose]() {
      child.kill();
      await exited;
    },
  };
}
