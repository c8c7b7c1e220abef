import http from "node:http";
import https from "node:https";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { Client } from "minio";
import { storeFull } from "../../core/errors/store-failure.ts";
import { isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import type { ListedObject, ObjectInfo, ObjectStore } from "../../core/files/object-store.ts";
import type { ServiceTls } from "../../core/operations/service-tls.ts";
import { objectBody } from "./object-body.ts";
import { checkRange, objectFolder, objectKey } from "./object-key.ts";

export interface S3ObjectStoreOptions {
  /** `http://host:port` or `https://host[:port]`. */
  endpoint: string;
  bucket: string;
  region: string;
  accessKey: string;
  secretKey: string;
  /** Certificates, for `https:`. */
  tls?: ServiceTls | undefined;
}

const MISSING = new Set(["NotFound", "NoSuchKey", "NoSuchBucket"]);
/** Error codes of a store without space: those of S3's siblings and of MinIO, and the status 507. */
const FULL = new Set(["XMinioStorageFull", "InsufficientStorage", "HTTP 507"]);
const QUOTA_USED = new Set(["QuotaExceeded", "XMinioAdminBucketQuotaExceeded"]);
const NO_UPLOAD = "NoSuchUpload";
/** Error codes of S3 for parts that do not exist as named, are out of order or too small. */
const PARTS_WRONG = new Set(["InvalidPart", "InvalidPartOrder", "EntityTooSmall"]);
/** Longest silence of the store from the request to the first byte of its response, in milliseconds. */
const SILENCE_MS = 10_000;
/** Longest silence while the bytes of an object are sent, in milliseconds; their source may cause it. */
const UPLOAD_SILENCE_MS = 60_000;
/** Time in which an upload must begin. */
const UPLOAD_SECONDS = 3_600;
const MADE_BY_ANOTHER = new Set(["BucketAlreadyOwnedByYou", "BucketAlreadyExists"]);

/**
 * Opens a bucket of an S3-compatible store, and creates it when it does not exist. Rejects with
 * `store_unavailable` when the store cannot be reached or refuses the keys.
 */
export async function createS3ObjectStore(options: S3ObjectStoreOptions): Promise<ObjectStore> {
  const bucket = new Bucket(options);
  await bucket.ensureExists();
  return { ...objects(bucket), ...partUploads(bucket) };
}

/** One bucket: its client, and the translation of its errors. */
class Bucket {
  readonly name: string;
  readonly client: Client;
  readonly agent: https.Agent | undefined;
  readonly #region: string;
  readonly #address: string;

  constructor({ endpoint, bucket, region, accessKey, secretKey, tls }: S3ObjectStoreOptions) {
    const { hostname, port: givenPort, protocol } = new URL(endpoint);
    const useSSL = protocol === "https:";
    const port = givenPort ? Number(givenPort) : useSSL ? 443 : 80;
    this.name = bucket;
    this.agent = tls && useSSL ? agentOf(tls) : undefined;
    this.#region = region;
    this.#address = `${hostname}:${port}`;
    this.client = new Client({
      endPoint: hostname,
      port,
      useSSL,
      region,
      accessKey,
      secretKey,
      ...(this.agent && { transportAgent: this.agent }),
      transport: { request: boundedBy(SILENCE_MS, useSSL ? https : http) },
      // Callers retry by their own policies; the driver's retries print to the console.
      retryOptions: { disableRetry: true },
    });
  }

  async ensureExists(): Promise<void> {
    if (await this.answer(this.client.bucketExists(this.name))) return;
    await this.client.makeBucket(this.name, this.#region).catch((error) => {
      if (!MADE_BY_ANOTHER.has(codeOf(error))) throw this.failed(error);
    });
  }

  /**
   * Returns the error as it is when it is a `TemperaError`, otherwise as `store_full` or `store_unavailable`.
   */
  failed(error: unknown): unknown {
    if (isTemperaError(error)) return error;
    const code = codeOf(error);
    if (FULL.has(code)) {
      const remedy = "free space, or enlarge the volume of the bucket";
      return storeFull("object store", `has no space left (${code})`, remedy, error);
    }
    if (QUOTA_USED.has(code))
      return storeFull(
        "object store",
        `has used up its quota (${code})`,
        "free space, or raise the quota of the bucket",
        error,
      );
    const why = (error as Error).message || codeOf(error);
    return new TemperaError(
      "store_unavailable",
      `The object store at ${this.#address} cannot be used (${why}); ` +
        "start it, or correct S3_ENDPOINT, its keys, or the clock of this machine, which signs each call.",
      { cause: error, store: "object store" },
    );
  }

  async answer<T>(work: Promise<T>): Promise<T> {
    return work.catch((error) => {
      throw this.failed(error);
    });
  }

  async unlessMissing<T>(work: Promise<T>): Promise<T | undefined> {
    return work.catch((error) => {
      if (MISSING.has(codeOf(error))) return undefined;
      throw this.failed(error);
    });
  }

  async head(key: string): Promise<ObjectInfo | undefined> {
    const found = await this.unlessMissing(this.client.statObject(this.name, objectKey(key)));
    return (
      found && {
        bytes: found.size,
        contentType: String(found.metaData["content-type"] ?? "application/octet-stream"),
      }
    );
  }
}

const codeOf = (error: unknown): string => (error as { code?: string }).code ?? "";

const objects = (bucket: Bucket): Pick<ObjectStore, "put" | "head" | "get" | "delete" | "list"> => ({
  async put(key, body, { bytes, contentType }) {
    const content = objectBody(objectKey(key), body, bytes);
    try {
      const url = await bucket.client.presignedPutObject(bucket.name, key, UPLOAD_SECONDS);
      await upload(
        url,
        content.stream,
        { "content-length": bytes, "content-type": contentType },
        bucket.agent,
      );
    } catch (error) {
      throw content.broke(error) ? error : bucket.failed(error);
    } finally {
      content.stream.destroy();
    }
  },

  head: (key) => bucket.head(key),

  async get(key, range) {
    const info = await bucket.head(key);
    if (!info) return undefined;
    if (range) checkRange(range, info);
    const body = await bucket.unlessMissing(
      range
        ? bucket.client.getPartialObject(bucket.name, key, range.start, range.end - range.start + 1)
        : bucket.client.getObject(bucket.name, key),
    );
    return body && { info, body };
  },

  async delete(key) {
    await bucket.answer(bucket.client.removeObject(bucket.name, objectKey(key)));
  },

  async list(folder, after, limit) {
    const found: ListedObject[] = [];
    const listing = bucket.client.listObjectsV2(bucket.name, objectFolder(folder), true, after ?? "");
    try {
      for await (const { name, size, lastModified } of listing as AsyncIterable<{
        name?: string;
        size: number;
        lastModified?: Date;
      }>) {
        if (name === undefined) continue;
        found.push({ key: name, bytes: size, modifiedAtMs: lastModified?.getTime() ?? 0 });
        if (found.length >= limit) break;
      }
      return found;
    } catch (error) {
      throw bucket.failed(error);
    } finally {
      listing.destroy();
    }
  },
});

const partUploads = (
  bucket: Bucket,
): Pick<ObjectStore, "beginParts" | "putPart" | "completeParts" | "abortParts"> => ({
  beginParts: (key, contentType) =>
    bucket.answer(
      bucket.client.initiateNewMultipartUpload(bucket.name, objectKey(key), { "content-type": contentType }),
    ),

  async putPart({ key, uploadId }, number, body, bytes) {
    const content = objectBody(objectKey(key), body, bytes);
    try {
      const query = { partNumber: String(number), uploadId };
      const url = await bucket.client.presignedUrl("PUT", bucket.name, key, UPLOAD_SECONDS, query);
      const { etag } = await upload(url, content.stream, { "content-length": bytes }, bucket.agent);
      return (etag ?? "").replaceAll('"', "");
    } catch (error) {
      if (codeOf(error) === NO_UPLOAD) throw new TemperaError("upload_unknown", undefined, { cause: error });
      throw content.broke(error) ? error : bucket.failed(error);
    } finally {
      content.stream.destroy();
    }
  },

  async completeParts({ key, uploadId }, parts, info) {
    const rising = [...parts]
      .sort((a, b) => a.number - b.number)
      .map(({ number, etag }) => ({ part: number, etag }));
    try {
      await bucket.client.completeMultipartUpload(bucket.name, objectKey(key), uploadId, rising);
    } catch (error) {
      const code = codeOf(error);
      if (PARTS_WRONG.has(code))
        throw new TemperaError(
          "upload_parts_invalid",
          `The parts cannot be joined (${(error as Error).message}).`,
          { cause: error },
        );
      if (code !== NO_UPLOAD) throw bucket.failed(error);
      // An earlier call may have completed it, whose response was lost.
      if ((await bucket.head(key))?.bytes !== info.bytes)
        throw new TemperaError("upload_unknown", undefined, { cause: error });
    }
  },

  async abortParts({ key, uploadId }) {
    await bucket.client
      .abortMultipartUpload(bucket.name, objectKey(key), encodeURIComponent(uploadId))
      .catch((error) => {
        if (codeOf(error) !== NO_UPLOAD) throw bucket.failed(error);
      });
  },
});

/**
 * Creates an agent with the configured certificates that keeps connections open, as Node's default agent
 * does.
 */
const agentOf = ({ serverName, ...files }: ServiceTls): https.Agent =>
  new https.Agent({
    keepAlive: true,
    scheduling: "lifo",
    timeout: 5_000,
    ...files,
    ...(serverName !== undefined && { servername: serverName }),
  });

/**
 * Wraps `request` of `node:http`: it fails when the server stays silent until the response begins. The
 * response may then take any time: a browser that plays a video reads slowly.
 */
const boundedBy = (silenceMs: number, { request }: Pick<typeof http, "request">): typeof http.request =>
  ((options: http.RequestOptions, onResponse: (response: http.IncomingMessage) => void) => {
    const sent = request({ ...options, timeout: silenceMs }, (response) => {
      sent.setTimeout(0);
      onResponse(response);
    });
    sent.once("timeout", () => sent.destroy(new Error(`no answer in ${silenceMs} ms`)));
    return sent;
  }) as typeof http.request;

/**
 * Puts an object, or a part of one, in one request, while its bytes arrive: the store keeps all of it or
 * nothing. (The driver's `putObject` holds up to 64 MiB in memory, and beyond that ends the process when the
 * bytes break off.)
 *
 * @param url signed by the driver
 * @returns the headers of the store's response
 */
async function upload(
  url: string,
  bytes: Readable,
  headers: http.OutgoingHttpHeaders,
  agent: https.Agent | undefined,
): Promise<http.IncomingHttpHeaders> {
  const { request } = url.startsWith("https:") ? https : http;
  const sent = request(url, { method: "PUT", headers, timeout: UPLOAD_SILENCE_MS, ...(agent && { agent }) });
  sent.once("timeout", () => sent.destroy(new Error("the upload stalled")));
  sent.once("finish", () => sent.setTimeout(SILENCE_MS));
  const responded = new Promise<http.IncomingMessage>((resolve, reject) => {
    sent.once("response", resolve).once("error", reject);
  });
  const [response] = await Promise.all([responded, pipeline(bytes, sent)]);
  const answer = await text(response);
  if (response.statusCode !== 200) {
    const code = /<Code>([^<]+)/.exec(answer)?.[1] ?? `HTTP ${response.statusCode}`;
    throw Object.assign(new Error(code), { code });
  }
  return response.headers;
}
