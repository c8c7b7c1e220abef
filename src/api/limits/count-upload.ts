import type { ApiDependencies } from "../dependencies.ts";

/**
 * Runs an upload, which is an open call of its owner, and counts its bytes by the owner's limits; a failed
 * one does not count. Rejects with `upload_limit`, as `Budget.acquire` does, or as `upload` does.
 */
export async function countUpload<T>(
  { limits, budgets }: Pick<ApiDependencies, "limits" | "budgets">,
  { ownerId, bytes }: { ownerId: string; bytes: number },
  upload: () => Promise<T>,
): Promise<T> {
  using _open = budgets.openCalls.acquire(ownerId);
  const giveBack = await limits.countUploadBytes(ownerId, bytes);
  try {
    return await upload();
  } catch (error) {
    giveBack();
    throw error;
  }
}
