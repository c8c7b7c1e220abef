import { randomUUID } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import type { ObjectInfo, ObjectStore } from "../../core/ports/object-store.ts";
import { objectBody } from "./object-body.ts";
import { checkRange, objectKey } from "./object-key.ts";

const FULL = new Set(["ENOSPC", "EDQUOT"]);
const MISSING = new Set(["ENOENT", "ENOTDIR"]);

/**
 * Objects as files below a folder. Each has a file `<key>@info` beside it that is written last: an object is there when its
 * info is. No key has an `@`, so what belongs to the store never meets an object.
 */
export function createFileObjectStore({ folder }: { folder: string }): ObjectStore {
  const pathOf = (key: string): string => join(folder, objectKey(key));
  const infoOf = (path: string): string => `${path}@info`;

  const failed = (error: unknown): unknown => {
    const { code, message } = error as NodeJS.ErrnoException;
    if (isTemperaError(error) || typeof code !== "string") return error;
    const text = FULL.has(code)
      ? `There is no space left for files in ${folder}; free some, or set TEMPERA_DATA to a folder with more.`
      : `Files in ${folder} cannot be used (${message}); mend that, or set TEMPERA_DATA to another folder.`;
    return new TemperaError("store_unavailable", text, { cause: error });
  };
  const unlessMissing = async <T>(work: Promise<T>): Promise<T | undefined> => {
    try {
      return await work;
    } catch (error) {
      if (MISSING.has((error as NodeJS.ErrnoException).code ?? "")) return undefined;
      throw failed(error);
    }
  };

  const infoAt = async (path: string): Promise<ObjectInfo | undefined> => {
    const text = await unlessMissing(readFile(infoOf(path), "utf8"));
    return text === undefined ? undefined : (JSON.parse(text) as ObjectInfo);
  };

  return {
    async put(key, body, { bytes, contentType }) {
      const path = pathOf(key);
      const partial = `${path}@${randomUUID()}`;
      const content = objectBody(key, body, bytes);
      try {
        await mkdir(dirname(path), { recursive: true });
        await pipeline(content.stream, createWriteStream(partial));
        await rename(partial, path);
        await writeFile(partial, JSON.stringify({ bytes, contentType } satisfies ObjectInfo));
        await rename(partial, infoOf(path));
      } catch (error) {
        content.stream.destroy();
        await rm(partial, { force: true }).catch(() => {});
        // What the source threw is its own affair, except that its disk may be this one.
        const full = FULL.has((error as NodeJS.ErrnoException).code ?? "");
        throw content.broke(error) && !full ? error : failed(error);
      }
    },

    head: async (key) => infoAt(pathOf(key)),

    async get(key, range) {
      const path = pathOf(key);
      const info = await infoAt(path);
      if (!info) return undefined;
      if (range) checkRange(range, info);
      // Opened before it is handed out: an object that vanishes now is still read to its end.
      const file = await unlessMissing(open(path));
      return file && { info, body: file.createReadStream(range) };
    },

    async delete(key) {
      const path = pathOf(key);
      await unlessMissing(rm(infoOf(path), { force: true }));
      await unlessMissing(rm(path, { force: true }));
    },
  };
}
