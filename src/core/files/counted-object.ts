/**
 * A counted object has no record in `files` and counts for its owner all the same: an artifact without a
 * lifecycle, or a stored value. It counts from before its bytes are put until just before they are deleted,
 * so that a process that dies in between never leaves an owner with less room for good: what counts without
 * bytes is found by the sweep of orphans.
 */
import type { Readable } from "node:stream";
import { isStoreFailure } from "../errors/store-failure.ts";
import type { Log } from "../operations/log.ts";
import type { FileStore } from "./file-store.ts";
import type { ObjectInfo, ObjectStore } from "./object-store.ts";

export interface CountedObjectStores {
  objects: Pick<ObjectStore, "put">;
  files: Pick<FileStore, "countObject" | "uncountObjects">;
  log: Pick<Log, "warn">;
}

/**
 * Counts an object for its owner, then puts it. It does not count when it cannot be put. Rejects with
 * `storage_limit` when the owner has no room for it, and as `put` does. While PostgreSQL is away, it is put
 * and does not count: neither a request nor a result waits for that.
 *
 * @param body gives the bytes
 */
export async function putCounted(
  { objects, files, log }: CountedObjectStores,
  { ownerId, objectKey }: { ownerId: string; objectKey: string },
  body: () => Buffer | Readable,
  info: ObjectInfo,
): Promise<void> {
  const { bytes } = info;
  const isNew = await files.countObject({ ownerId, objectKey, bytes }).catch((error) => {
    if (!isStoreFailure(error)) throw error;
    log.warn({ objectKey, ownerId }, `an object does not count for its owner: ${error.message}`);
    return false;
  });
  try {
    await objects.put(objectKey, body(), info);
  } catch (error) {
    if (isNew)
      await files
        .uncountObjects([objectKey], ownerId)
        .catch((failure) =>
          log.warn({ objectKey, ownerId }, `an object counts though it is not stored: ${String(failure)}`),
        );
    throw error;
  }
}

/**
 * Deletes objects that may count for owners; ones that are not there are left out. An object that cannot be
 * deleted counts no more, and is there to be deleted again.
 */
export async function deleteCounted(
  { objects, files }: { objects: Pick<ObjectStore, "delete">; files: Pick<FileStore, "uncountObjects"> },
  objectKeys: string[],
): Promise<void> {
  if (objectKeys.length > 0) await files.uncountObjects(objectKeys);
  for (const key of objectKeys) await objects.delete(key);
}
