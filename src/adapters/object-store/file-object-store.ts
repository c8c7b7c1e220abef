import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ObjectStore } from "../../core/ports/object-store.ts";

export const createFileObjectStore = ({ folder }: { folder: string }): ObjectStore => {
  const at = (k: string) => join(folder, k);
  const head = async (k: string) => {
    try {
      return JSON.parse(await readFile(`${at(k)}.info`, "utf8"));
    } catch {
      return undefined;
    }
  };
  return {
    async put(k, body, info) {
      await mkdir(dirname(at(k)), { recursive: true });
      const t = `${at(k)}.${Math.random()}.tmp`;
      await pipeline(body instanceof Readable ? body : Readable.from([body]), createWriteStream(t));
      await rename(t, at(k));
      await writeFile(`${at(k)}.info`, JSON.stringify(info));
    },
    head,
    async get(k, range) {
      const info = await head(k);
      if (!info) return undefined;
      await stat(at(k));
      return { info, body: createReadStream(at(k), range) };
    },
    async delete(k) {
      await rm(at(k), { force: true });
      await rm(`${at(k)}.info`, { force: true });
    },
  };
};
