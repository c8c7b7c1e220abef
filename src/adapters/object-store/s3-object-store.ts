import http from "node:http";
import https from "node:https";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { Client } from "minio";
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
  /** With which certificates, for `https:`. */
  tls?: ServiceTls | undefined;
}

const MISSING = new Set(["NotFound", "NoSuchKey", "NoSuchBucket"]);
const NO_UPLOAD = "NoSuchUpload";
/** How S3 says that a part is not what its caller thinks. */
const PARTS_WRONG = new Set(["InvalidPart", "InvalidPartOrder", "EntityTooSmall"]);
/** Longest silence of the store while it takes a request, up to the first byte of its answer. */
const SILENCE_MS = 10_000;
/** The same while the bytes of an object are on their way, which may be the turn of whoever makes them. */
const UPLOAD_SILENCE_MS = 60_000;
/** How long an upload may take to begin. */
const UPLOAD_SECONDS = 3_600;
const MADE_BY_ANOTHER = new Set(["BucketAlreadyOwnedByYou", "BucketAlreadyExists"]);

/**
 * Objects in a bucket of an S3-compatible store, which is made when it does not exist.
 * Rejects with `store_unavailable` when the store cannot be reached or refuses the keys.
 */
export async function createS3ObjectStore({
  endpoint,
  bucket,
  region,
  accessKey,
  secretKey,
  tls,
}: S3ObjectStoreOptions): Promise<ObjectStore> {
  const { hostname, port, protocol } = new URL(endpoint);
  const useSSL = protocol === "https:";
  const agent = tls && useSSL ? agentOf(tls) : undefined;
  const client = new Client({
    endPoint: hostname,
    port: port ? Number(port) : useSSL ? 443 : 80,
    useSSL,
    region,
    accessKey,
    secretKey,
    ...(agent && { transportAgent: agent }),
    transport: { request: boundedBy(SILENCE_MS, useSSL ? https : http) },
    // Whoever calls has a retry policy; the driver's own prints to the console.
    retryOptions: { disableRetry: true },
  });

  const codeOf = (error: unknown): string => (error as { code?: string }).code ?? "";
  const failed = (error: unknown): unknown => {
    if (isTemperaError(error)) return error;
    const why = (error as Error).message || codeOf(error);
    return new TemperaError(
      "store_unavailable",
      `The object store at ${hostname}:${port || (useSSL ? 443 : 80)} cannot be used (${why}); start it, or correct S3_ENDPOINT and its keys.`,
      { cause: error },
    );
  };
  const answer = async <T>(work: Promise<T>): Promise<T> =>
    work.catch((error) => {
      throw failed(error);
    });
  const unlessMissing = async <T>(work: Promise<T>): Promise<T | undefined> =>
    work.catch((error) => {
      if (MISSING.has(codeOf(error))) return undefined;
      throw failed(error);
    });

  if (!(await answer(client.bucketExists(bucket)))) {
    await client.makeBucket(bucket, region).catch((error) => {
      if (!MADE_BY_ANOTHER.has(codeOf(error))) throw failed(error);
    });
  }

  const head = async (key: string): Promise<ObjectInfo | undefined> => {
    const found = await unlessMissing(client.statObject(bucket, objectKey(key)));
    return (
      found && {
        bytes: found.size,
        contentType: String(found.metaData["content-type"] ?? "application/octet-stream"),
      }
    );
  };

  return {
    async put(key, body, { bytes, contentType }) {
      const content = objectBody(objectKey(key), body, bytes);
      try {
        const url = await client.presignedPutObject(bucket, key, UPLOAD_SECONDS);
        await upload(url, content.stream, { "content-length": bytes, "content-type": contentType }, agent);
      } catch (error) {
        throw content.broke(error) ? error : failed(error);
      } finally {
        content.stream.destroy();
      }
    },

    head,

    async get(key, range) {
      const info = await head(key);
      if (!info) return undefined;
      if (range) checkRange(range, info);
      const body = await unlessMissing(
        range
          ? client.getPartialObject(bucket, key, range.start, range.end - range.start + 1)
          : client.getObject(bucket, key),
      );
      return body && { info, body };
    },

    async delete(key) {
      await answer(client.removeObject(bucket, objectKey(key)));
    },

    async list(folder, after, limit) {
      const found: ListedObject[] = [];
      const listing = client.listObjectsV2(bucket, objectFolder(folder), true, after ?? "");
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
        throw failed(error);
      } finally {
        listing.destroy();
      }
    },

    beginParts: (key, contentType) =>
      answer(client.initiateNewMultipartUpload(bucket, objectKey(key), { "content-type": contentType })),

    async putPart({ key, uploadId }, number, body, bytes) {
      const content = objectBody(objectKey(key), body, bytes);
      try {
        const query = { partNumber: String(number), uploadId };
        const url = await client.presignedUrl("PUT", bucket, key, UPLOAD_SECONDS, query);
        const { etag } = await upload(url, content.stream, { "content-length": bytes }, agent);
        return (etag ?? "").replaceAll('"', "");
      } catch (error) {
        if (codeOf(error) === NO_UPLOAD)
          throw new TemperaError("upload_unknown", undefined, { cause: error });
        throw content.broke(error) ? error : failed(error);
      } finally {
        content.stream.destroy();
      }
    },

    async completeParts({ key, uploadId }, parts, info) {
      const rising = [...parts]
        .sort((a, b) => a.number - b.number)
        .map(({ number, etag }) => ({ part: number, etag }));
      try {
        await client.completeMultipartUpload(bucket, objectKey(key), uploadId, rising);
      } catch (error) {
        const code = codeOf(error);
        if (PARTS_WRONG.has(code))
          throw new TemperaError(
            "upload_parts_invalid",
            `The parts cannot be joined (${(error as Error).message}).`,
            { cause: error },
          );
        if (code !== NO_UPLOAD) throw failed(error);
        // It may have been completed before, by a caller that did not hear the answer.
        if ((await head(key))?.bytes !== info.bytes)
          throw new TemperaError("upload_unknown", undefined, { cause: error });
      }
    },

    async abortParts({ key, uploadId }) {
      await client
        .abortMultipartUpload(bucket, objectKey(key), encodeURIComponent(uploadId))
        .catch((error) => {
          if (codeOf(error) !== NO_UPLOAD) throw failed(error);
        });
    },
  };
}

/**
 * Connections with the configured certificates, kept open between requests as those of Node's own agent are.
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
 * `request` of `node:http` that gives up on a server that stays silent. Once the answer has begun it may take
 * any time: a browser that plays a film reads as slowly as it likes.
 */
const boundedBy = (silenceMs: number, { request }: Pick<typeof http, "request">): typeof http.request =>
  ((options: http.RequestOptions, answered: (response: http.IncomingMessage) => void) => {
    const sent = request({ ...options, timeout: silenceMs }, (response) => {
      sent.setTimeout(0);
      answered(response);
    });
    sent.once("timeout", () => sent.destroy(new Error(`no answer in ${silenceMs} ms`)));
    return sent;
  }) as typeof http.request;

/**
 * Puts an object, or a part of one, in one request, as its bytes come: the store keeps all of it or nothing.
 * (The driver's own way holds up to 64 MiB in memory, and beyond that ends the process when the bytes break
 * off.)
 *
 * @param url signed by the driver
 * @returns the headers of the store's answer
 */
async function upload(
  url: string,
  bytes: Readable,
  headers: http.OutgoingHttpHeaders,
  agent: https.Agent | undefined,
): Promise<http.IncomingHttpHeaders> {
  const { request } = url.startsWith("https:") ? https : http;
  const sent = request(url, { method: "PUT", headers, timeout: UPLOAD_SILENCE_MS, ...(agent && { agent }) });
  sent.once("timeout", () => sent.destroy(new Error("the upload came to a halt")));
  sent.once("finish", () => sent.setTimeout(SILENCE_MS));
  const answered = new Promise<http.IncomingMessage>((resolve, reject) => {
    sent.once("response", resolve).once("error", reject);
  });
  const [response] = await Promise.all([answered, pipeline(bytes, sent)]);
  const answer = await text(response);
  if (response.statusCode !== 200) {
    const code = /<Code>([^<]+)/.exec(answer)?.[1];
    throw Object.assign(new Error(code ?? `HTTP ${response.statusCode}`), { code });
  }
  return response.headers;
}
