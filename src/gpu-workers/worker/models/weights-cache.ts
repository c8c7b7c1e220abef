/**
 * Weights of published versions on this machine's disk: fetched when they are first needed, kept until their
 * version is dropped.
 */
import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { diskFull } from "../../../core/errors/store-failure.ts";
import { TemperaError } from "../../../core/errors/tempera-error.ts";
import type { ObjectStore } from "../../../core/files/object-store.ts";
import { LIMITS } from "../../../core/limits.ts";
import type { WeightFile } from "../../../core/models/published-version.ts";

export interface WeightsCache {
  /**
   * Resolves with the folder that holds all these files, with the bytes that their digests name. Fetches them
   * when the folder is not there. A folder that an earlier process left is verified once, and fetched again
   * when any byte differs.
   *
   * Rejects with `store_unavailable`, with `store_full` for the worker's own disk, with `internal_error` for
   * bytes that are not what was published, or with the signal's reason. The folder never holds a part of a
   * model.
   *
   * @param digest digest of the model version: the folder's name
   */
  ensure(digest: string, files: readonly WeightFile[], signal: AbortSignal): Promise<string>;
  /** Deletes a version's folder. Nobody may be using it. */
  drop(digest: string): Promise<void>;
}

const PARTIAL = "partial-";

/** @param folder belongs to weights caches alone; several GPU workers of one machine may share it */
export async function openWeightsCache({
  folder,
  objects,
}: {
  folder: string;
  objects: Pick<ObjectStore, "get">;
}): Promise<WeightsCache> {
  await mkdir(folder, { recursive: true });
  await removeOldPartials(folder);
  /** Digests of folders that this process has verified or fetched. */
  const verified = new Set<string>();
  const inProgress = new Map<string, Promise<string>>();

  const ensure = async (
    digest: string,
    files: readonly WeightFile[],
    signal: AbortSignal,
  ): Promise<string> => {
    const target = join(folder, digest);
    if (verified.has(digest)) return target;
    if (await isIntact(target, files, signal)) {
      verified.add(digest);
      return target;
    }
    const partial = join(folder, `${PARTIAL}${randomUUID()}`);
    try {
      await mkdir(partial, { recursive: true });
      await forEachConcurrently(files, LIMITS.weightsAtOnce, (file) =>
        fetchFile(objects, file, join(partial, file.path), signal),
      );
      await rm(target, { recursive: true, force: true });
      await rename(partial, target).catch(async (error: NodeJS.ErrnoException) => {
        // Another worker of this machine may have been faster.
        if (
          (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") ||
          !(await isIntact(target, files, signal))
        )
          throw error;
      });
      verified.add(digest);
      return target;
    } catch (error) {
      const remedy = `free space for ${folder}, or set TEMPERA_WEIGHTS to another folder`;
      throw diskFull("GPU worker's disk", error, remedy) ?? error;
    } finally {
      await rm(partial, { recursive: true, force: true });
    }
  };

  return {
    ensure(digest, files, signal) {
      const shared = inProgress.get(digest);
      if (shared) return shared;
      const ensured = ensure(digest, files, signal).finally(() => inProgress.delete(digest));
      inProgress.set(digest, ensured);
      return ensured;
    },
    async drop(digest) {
      verified.delete(digest);
      await rm(join(folder, digest), { recursive: true, force: true });
    },
  };
}

async function fetchFile(
  objects: Pick<ObjectStore, "get">,
  file: WeightFile,
  path: string,
  signal: AbortSignal,
): Promise<void> {
  const object = await objects.get(file.objectKey);
  if (!object)
    throw new TemperaError(
      "internal_error",
      `${file.path}: its bytes are no longer in the object store (${file.objectKey}); ` +
        "publish the version again.",
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
      `${file.path}: the object store gave ${found.slice(0, 12)}…, but ` +
        `${file.sha256.slice(0, 12)}… was published.`,
    );
}

async function isIntact(target: string, files: readonly WeightFile[], signal: AbortSignal): Promise<boolean> {
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
 * Removes what killed workers had fetched of a model. A partial folder that another worker is filling now is
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

/** Works on at most `atOnce` items at a time. Rejects with the first error after all work has settled. */
async function forEachConcurrently<T>(
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
