import type { ApiDependencies } from "../dependencies.ts";

/**
 * Runs an upload and counts its bytes by the owner's limits; a failed one does not count. Rejects with
 * `upload_limit`, or as `upload` does.
 */
export async function countUpload<T>(
  { limits }: Pick<ApiDependencies, "limits">,
  { ownerId, bytes }: { ownerId: string; bytes: number },
  upload: () => Promise<T>,
): Promise<T> {
  const giveBack = await limits.countUploadBytes(ownerId, bytes);
  try {
    return await upload();
  } catch (error) {
    giveBack();
    throw error;
  }
}
