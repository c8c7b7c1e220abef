import { LIMITS } from "../core/limits.ts";
import type { Clock } from "../core/operations/clock.ts";
import type { FileStore } from "../core/files/file-store.ts";
import type { ObjectStore } from "../core/files/object-store.ts";
import type { RetentionStore } from "../core/operations/retention-store.ts";

/** Files removed between two looks at the records. */
const BATCH = 100;

interface SweepFilesDependencies {
  files: Pick<FileStore, "dead" | "remove">;
  objects: Pick<ObjectStore, "delete" | "abortParts">;
  /** Counts what went, with everything else that retention deletes. */
  retention: Pick<RetentionStore, "count">;
  clock: Clock;
}

/**
 * Beside the workflow `retention`, and not part of it: a file's own time may be a minute (fal's word
 * `immediate`), and nothing of it needs to be remembered from one look to the next.
 *
 * Removes the bytes and the records of files whose time has passed, and of uploads that were given up: bytes
 * first, so that none are left without a record. Any number of processes may do it at once. Returns how many
 * went.
 */
export async function sweepFiles({
  files,
  objects,
  retention,
  clock,
}: Omit<SweepFilesDependencies, "log">): Promise<number> {
  for (let removed = 0; ; ) {
    const nowMs = clock.nowMs();
    // A body that came in time may still be on its way.
    const dead = await files.dead(nowMs, nowMs - LIMITS.uploadBodyMs, BATCH);
    for (const { objectKey, partsId } of dead) {
      if (objectKey === undefined) continue;
      if (partsId !== undefined) await objects.abortParts({ key: objectKey, uploadId: partsId });
      await objects.delete(objectKey);
    }
    await files.remove(dead.map(({ fileId }) => fileId));
    await retention.count("file", dead.length);
    removed += dead.length;
    if (dead.length < BATCH) return removed;
  }
}
