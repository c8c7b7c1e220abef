/**
 * Reads and writes clips through a program of its own, so that FFmpeg, which is under the GPL, is never
 * loaded here.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { ClipAnswer, ClipRequest } from "../gpu-workers/engines/onnx/media/clip-program.ts";
import type { DecodedClip } from "../gpu-workers/engines/onnx/media/decode-clip.ts";
import type { PictureSize } from "../gpu-workers/engines/onnx/image/image-size.ts";

export type { DecodedClip };

export interface ClipFiles extends AsyncDisposable {
  /** A whole clip; its frames are scaled when a size is given. Rejects when it is none. */
  decode(path: string, size?: PictureSize): Promise<DecodedClip>;
  /** Writes an MP4 of frames (RGB, 8 bits, row by row). */
  write(path: string, size: PictureSize, fps: number, frames: Uint8Array[]): Promise<void>;
}

export function openClipFiles(): ClipFiles {
  const program = fileURLToPath(
    new URL("../gpu-workers/engines/onnx/media/clip-program.ts", import.meta.url),
  );
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
  const child = fork(program, { execArgv: ["--import", tsx], serialization: "advanced" });
  const waiting = new Map<
    number,
    { resolve: (answer: ClipAnswer) => void; reject: (error: Error) => void }
  >();
  child.on("message", ({ id, answer }: { id: number; answer: ClipAnswer }) => {
    waiting.get(id)?.resolve(answer);
    waiting.delete(id);
  });
  const exited = once(child, "exit").then(() => {
    for (const { reject } of waiting.values()) reject(new Error("The program that reads clips went away."));
  });
  let count = 0;
  const ask = async (request: ClipRequest): Promise<ClipAnswer> => {
    const id = count++;
    const answer = await new Promise<ClipAnswer>((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      child.send({ id, request });
    });
    if ("error" in answer) throw new Error(answer.error);
    return answer;
  };
  return {
    async decode(path, size) {
      const answer = await ask({ verb: "decode", path, ...(size && { size }) });
      if (!("clip" in answer)) throw new Error("The program that reads clips gave none.");
      return answer.clip;
    },
    async write(path, size, fps, frames) {
      await ask({ verb: "write", path, size, fps, frames });
    },
    async [Symbol.asyncDispose]() {
      child.kill();
      await exited;
    },
  };
}
