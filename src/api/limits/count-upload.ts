import { errorInfo } from "../../core/errors/tempera-error.ts";
import type { ApiDependencies } from "../dependencies.ts";

interface CountedUpload<T> {
  ownerId: string;
  fileId: string;
  /** The object that the bytes are written to. */
  objectKey: string;
  bytes: number;
  /** Announces the bytes to the file's record: from then on they count as stored. */
  announce(): Promise<void>;
  /** Stores the bytes. */
  store(): Promise<T>;
}

/**
 * Carries out an upload, which is an open call of its owner, and counts its bytes by the owner's limits,
 * before any of them are stored; a failed one does not count. Rejects with `upload_limit` or `storage_limit`,
 * as `Budget.acquire` does, or as `store` does.
 */
export async function countUpload<T>(
  { limits, files, log, budgets }: Pick<ApiDependencies, "limits" | "files" | "log" | "budgets">,
  { ownerId, fileId, objectKey, bytes, announce, store }: CountedUpload<T>,
): Promise<T> {
  using _open = budgets.openCalls.acquire(ownerId);
  const giveBack = await limits.countUploadBytes(ownerId, bytes);
  try {
    await announce();
    return await store().catch(async (error) => {
      await files
        .announce(fileId, objectKey, -bytes)
        .catch((failure) =>
          log.warn(
            { fileId, err: errorInfo(failure) },
            "the bytes of a failed upload count as stored until its record is swept",
          ),
        );
      throw error;
    });
  } catch (error) {
    giveBack();
    throw error;
  }
}
