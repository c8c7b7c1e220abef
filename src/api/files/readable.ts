import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { FileRecord } from "../../core/files/file.ts";
import { decide, isPublic } from "../../core/files/lifecycle.ts";
import type { ApiDependencies } from "../dependencies.ts";

export type ReadableFile = FileRecord & { objectKey: string; stored: NonNullable<FileRecord["stored"]> };
export type FindReadable = (fileId: string, identities: () => Promise<string[]>) => Promise<ReadableFile>;

/**
 * Finds a file that a reader may read. Rejects with `file_unknown` when it does not exist, is not uploaded
 * yet, has expired or is hidden, and with `file_forbidden` when it is forbidden.
 *
 * `identities`, the owners whose keys the reader has, are read unless the file is public.
 */
export function createFindReadable({ files, clock }: Pick<ApiDependencies, "files" | "clock">): FindReadable {
  return async (fileId, identities) => {
    const file = await files.find(fileId);
    const expiresAtMs = file?.stored?.expiresAtMs ?? Number.POSITIVE_INFINITY;
    if (!file?.stored || file.objectKey === undefined || expiresAtMs <= clock.nowMs()) {
      // As for a hidden file: neither the time of the answer nor the count of wrong keys tells them apart.
      await identities();
      throw new TemperaError("file_unknown");
    }
    const { stored, objectKey, ownerId, lifecycle } = file;
    if (!isPublic(lifecycle.acl)) {
      const decision = decide(lifecycle.acl, ownerId, await identities());
      if (decision !== "allow")
        throw new TemperaError(decision === "forbid" ? "file_forbidden" : "file_unknown");
    }
    return { ...file, stored, objectKey };
  };
}
