/**
 * Weights of published versions on this machine's disk: fetched when they are first needed, kept until their
 * version is dropped.
 */
import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { TemperaError } from "../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../core/limits.ts";
import type { ObjectStore } from "../../../core/files/object-store.ts";
import type { WeightFile } from "../../../core/models/published-version.ts";

export interface WeightsCache {
  /**
   * The folder that has these files, all of them and with the bytes that their digests say. Fetched when it
   * is not there; a folder of an earlier process is read once and fetched again when a byte of it is another.
   *
   * Rejects with `store_unavailable`, `internal_error` for bytes that are not what was published, or the
   * signal's reason. Nothing half a model is ever seen under the folder's name.
   *
   * @param digest of the model version: the folder's name
   */
  place(digest: string, files: readonly WeightFile[], signal: AbortSignal): Promise<string>;
  /** Deletes a version's folder; nobody may be using it. */
  drop(digest: string): Promise<void>;
}

const PARTIAL = "partial-";

/** @param folder is this cache's alone; several GPU workers of one machine may share it */
export async function openWeightsCache({
  folder,
  objects,
}: {
  folder: string;
  objects: Pick<ObjectStore, "get">;
}): Promise<WeightsCache> {
  await mkdir(folder, { recursive: true });
  await removeOldPartials(folder);
  /** Folders that this process has read or fetched whole. */
  const sound = new Set<string>();
  const placing = new Map<string, Promise<string>>();

  const place = async (
    digest: string,
    files: readonly WeightFile[],
    signal: AbortSignal,
  ): Promise<string> => {
    const target = join(folder, digest);
    if (sound.has(digest)) return target;
    if (await isSound(target, files, signal)) {
      sound.add(digest);
      return target;
    }
    const partial = join(folder, `${PARTIAL}${randomUUID()}`);
    try {
      await mkdir(partial, { recursive: true });
      await someAtOnce(files, LIMITS.weightsAtOnce, (file) =>
        fetch(objects, file, join(partial, file.path), signal),
      );
      await rm(target, { recursive: true, force: true });
      await rename(partial, target).catch(async (error: NodeJS.ErrnoException) => {
        // Another worker of this machine was first.
        if (
          (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") ||
          !(await isSound(target, files, signal))
        )
          throw error;
      });
      sound.add(digest);
      return target;
    } finally {
      await rm(partial, { recursive: true, force: true });
    }
  };

  return {
    place(digest, files, signal) {
      const before = placing.get(digest);
      if (before) return before;
      const placed = place(digest, files, signal).finally(() => placing.delete(digest));
      placing.set(digest, placed);
      return placed;
    },
    async drop(digest) {
      sound.delete(digest);
      await rm(join(folder, digest), { recursive: true, force: true });
    },
  };
}

async function fetch(
  objects: Pick<ObjectStore, "get">,
  file: WeightFile,
  path: string,
  signal: AbortSignal,
): Promise<void> {
  const object = await objects.get(file.objectKey);
  if (!object)
    throw new TemperaError(
      "internal_error",
      `${file.path}: its bytes are no longer in the object store (${file.objectKey}).`,
    );
  await mkdir(dirname(path), { recursive: true });
  const hash = createHash("sha256");
  async function* hashed(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of source) {
      hash.update(chunk);
      yield chunk;
    }
  }
  await pipeline(object.body, hashed, createWriteStream(path), { signal });
  const found = hash.digest("hex");
  if (found !== file.sha256)
    throw new TemperaError(
      "internal_error",
      `${file.path}: the object store gave ${found.slice(0, 12)}…, published was ${file.sha256.slice(0, 12)}….`,
    );
}

async function isSound(target: string, files: readonly WeightFile[], signal: AbortSignal): Promise<boolean> {
  if (!(await stat(target).catch(() => undefined))?.isDirectory()) return false;
  for (const { path, sha256, bytes } of files) {
    const file = join(target, path);
    if ((await stat(file).catch(() => undefined))?.size !== bytes) return false;
    const hash = createHash("sha256");
    await pipeline(createReadStream(file), hash, { signal });
    if (hash.digest("hex") !== sha256) return false;
  }
  return true;
}

/**
 * What a worker that was killed had fetched of a model. One that is being fetched now by another worker is
 * younger than a day.
 */
async function removeOldPartials(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith(PARTIAL)) continue;
    const { mtimeMs } = (await stat(join(folder, name)).catch(() => undefined)) ?? { mtimeMs: Date.now() };
    if (Date.now() - mtimeMs > 24 * 3600 * 1000)
      await rm(join(folder, name), { recursive: true, force: true });
  }
}

async function someAtOnce<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const left = [...items];
  const next = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item);
  };
  const all = await Promise.allSettled(Array.from({ length: Math.min(atOnce, items.length) }, next));
  const failed = all.find((each) => each.status === "rejected");
  if (failed) throw failed.reason;
}
