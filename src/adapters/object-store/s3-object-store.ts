import { Client } from "minio";
import { isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import type { ObjectInfo, ObjectStore } from "../../core/ports/object-store.ts";
import { objectKey } from "./object-key.ts";

export interface S3ObjectStoreOptions {
  /** `http://host:port` or `https://host[:port]`. */
  endpoint: string;
  bucket: string;
  region: string;
  accessKey: string;
  secretKey: string;
}

const MISSING = new Set(["NotFound", "NoSuchKey", "NoSuchBucket"]);
const MADE_BY_ANOTHER = new Set(["BucketAlreadyOwnedByYou", "BucketAlreadyExists"]);

/**
 * Objects in a bucket of an S3-compatible store, which is made when it does not exist.
 * Rejects with `store_unavailable` when the store cannot be reached or refuses the keys.
 */
export async function createS3ObjectStore({ endpoint, bucket, region, accessKey, secretKey }: S3ObjectStoreOptions): Promise<ObjectStore> {
  const { hostname, port, protocol } = new URL(endpoint);
  const useSSL = protocol === "https:";
  const client = new Client({ endPoint: hostname, port: port ? Number(port) : useSSL ? 443 : 80, useSSL, region, accessKey, secretKey });

  const codeOf = (error: unknown): string => (error as { code?: string }).code ?? "";
  const answer = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      if (isTemperaError(error) || MISSING.has(codeOf(error))) throw error;
      const why = (error as Error).message || codeOf(error);
      throw new TemperaError(
        "store_unavailable",
        `The object store at ${hostname}:${port || (useSSL ? 443 : 80)} cannot be used (${why}); start it, or correct S3_ENDPOINT and its keys.`,
        { cause: error },
      );
    }
  };
  const unlessMissing = async <T>(work: () => Promise<T>): Promise<T | undefined> =>
    answer(work).catch((error) => {
      if (MISSING.has(codeOf(error))) return undefined;
      throw error;
    });

  if (!(await answer(() => client.bucketExists(bucket)))) {
    await answer(() => client.makeBucket(bucket, region)).catch((error) => {
      if (!MADE_BY_ANOTHER.has(codeOf((error as Error).cause))) throw error;
    });
  }

  const head = (key: string): Promise<ObjectInfo | undefined> =>
    unlessMissing(async () => {
      const { size, metaData } = await client.statObject(bucket, objectKey(key));
      return { bytes: size, contentType: String(metaData["content-type"] ?? "application/octet-stream") };
    });

  return {
    async put(key, body, { bytes, contentType }) {
      await answer(() => client.putObject(bucket, objectKey(key), body, bytes, { "Content-Type": contentType }));
    },

    head,

    async get(key, range) {
      const info = await head(key);
      if (!info) return undefined;
      const body = await unlessMissing(() =>
        range ? client.getPartialObject(bucket, key, range.start, range.end - range.start + 1) : client.getObject(bucket, key),
      );
      return body && { info, body };
    },

    async delete(key) {
      await answer(() => client.removeObject(bucket, objectKey(key)));
    },
  };
}
