import type { ApiDependencies } from "../dependencies.ts";

/**
 * Takes bytes in on an owner's account. Rejects with `upload_limit`; what does not come about is not counted.
 */
export async function countUpload<T>(
  { limits }: Pick<ApiDependencies, "limits">,
  { ownerId, bytes }: { ownerId: string; bytes: number },
  work: () => Promise<T>,
): Promise<T> {
  const giveBack = await limits.upload(ownerId, bytes);
  try {
    return await work();
  } catch (error) {
    giveBack();
    throw error;
  }
}
