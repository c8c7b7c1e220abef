import { randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import type { ObjectInfo, ObjectStore } from "../../core/ports/object-store.ts";
import { objectKey } from "./object-key.ts";

/**
 * Objects as files below a folder. Each has a file `<key>.info` beside it that is written last: an object is there when its
 * info is.
 */
export function createFileObjectStore({ folder }: { folder: string }): ObjectStore {
  const pathOf = (key: string): string => join(folder, objectKey(key));

  const failed = (error: unknown): unknown => {
    const { code, message } = error as NodeJS.ErrnoException;
    if (isTemperaError(error) || typeof code !== "string") return error;
    const text =
      code === "ENOSPC" || code === "EDQUOT"
        ? `There is no space left for files in ${folder}; free some, or set TEMPERA_DATA to a folder with more.`
        : `Files in ${folder} cannot be used (${message}); mend that, or set TEMPERA_DATA to another folder.`;
    return new TemperaError("store_unavailable", text, { cause: error });
  };

  const head = async (key: string): Promise<ObjectInfo | undefined> => {
    const path = pathOf(key);
    try {
      return JSON.parse(await readFile(`${path}.info`, "utf8")) as ObjectInfo;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw failed(error);
    }
  };

  return {
    async put(key, body, { bytes, contentType }) {
      const path = pathOf(key);
      const partial = `${path}.${randomUUID()}.partial`;
      try {
        await mkdir(dirname(path), { recursive: true });
        const file = createWriteStream(partial);
        await pipeline(body instanceof Readable ? body : Readable.from([body]), file);
        if (file.bytesWritten !== bytes)
          throw new TemperaError("store_unavailable", `${key} was to be ${bytes} bytes and is ${file.bytesWritten}.`);
        await rename(partial, path);
        await writeFile(partial, JSON.stringify({ bytes, contentType } satisfies ObjectInfo));
        await rename(partial, `${path}.info`);
      } catch (error) {
        await rm(partial, { force: true }).catch(() => {});
        throw failed(error);
      }
    },

    head,

    async get(key, range) {
      const info = await head(key);
      return info && { info, body: createReadStream(pathOf(key), range) };
    },

    async delete(key) {
      const path = pathOf(key);
      await rm(`${path}.info`, { force: true });
      await rm(path, { force: true });
    },
  };
}
