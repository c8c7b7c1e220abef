import type { ObjectStore } from "../../core/ports/object-store.ts";
export const createS3ObjectStore = async (_: {
  endpoint: string;
  bucket: string;
  accessKey: string;
  secretKey: string;
  region: string;
}): Promise<ObjectStore> => {
  throw new Error("interim");
};
