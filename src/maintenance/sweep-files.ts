import type { FileStore } from "../core/files/file-store.ts";
import type { ObjectStore } from "../core/files/object-store.ts";
import { LIMITS } from "../core/limits.ts";
import type { Clock } from "../core/operations/clock.ts";
import type { RetentionStore } from "../core/operations/retention-store.ts";

/** Files that one query returns. */
const BATCH = 100;

export interface SweepFilesDependencies {
  files: Pick<FileStore, "expired" | "remove">;
  objects: Pick<ObjectStore, "delete" | "abortParts">;
  /** Counts the deleted files, with everything else that retention deletes. */
  retention: Pick<RetentionStore, "count">;
  clock: Clock;
}

/**
 * Deletes the bytes and the records of files whose lifetime has ended, and of abandoned uploads. The bytes go
 * first, so that no bytes are left without a record. Several processes may do it at once. Returns the number
 * of deleted files.
 *
 * This is no part of the workflow `retention`: the lifetime of a file may be as short as a minute (fal's
 * `immediate`), and a run needs to remember nothing of the run before it.
 */
export async function sweepFiles({
  files,
  objects,
  retention,
  clock,
}: SweepFilesDependencies): Promise<number> {
  for (let removed = 0; ; ) {
    const nowMs = clock.nowMs();
    // A body that began to arrive in time may still be arriving.
    const expired = await files.expired(nowMs, nowMs - LIMITS.uploadBodyMs, BATCH);
    for (const { objectKey, partsId } of expired) {
      if (objectKey === undefined) continue;
      if (partsId !== undefined) await objects.abortParts({ key: objectKey, uploadId: partsId });
      await objects.delete(objectKey);
    }
    await files.remove(expired.map(({ fileId }) => fileId));
    await retention.count("file", expired.length);
    removed += expired.length;
    if (expired.length < BATCH) return removed;
  }
}
