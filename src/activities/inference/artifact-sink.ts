import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import type { ArtifactHead } from "../../core/engines/engine.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { artifactKey, artifactUrl } from "../../core/files/artifact.ts";
import { fileKey, fileUrl, producedFileId, safeFileName } from "../../core/files/file.ts";
import type { FileStore } from "../../core/files/file-store.ts";
import { expiryOf, type Lifecycle } from "../../core/files/lifecycle.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";
import type { Json, JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import { TREES } from "../../fal/index.ts";

export interface ArtifactSinkOptions {
  objects: Pick<ObjectStore, "put" | "delete">;
  files: Pick<FileStore, "begin" | "claim" | "store">;
  clock: Clock;
  /** Base of the URLs under which the files are served. */
  publicUrl: string;
  job: Pick<JobSpec, "requestId" | "ownerId" | "lifecycle">;
  /** Return files as data URIs where they fit (fal's `sync_mode`). */
  inline: boolean;
  /** Receives messages about failures that do not affect the run. */
  warn: (message: string) => void;
}

/**
 * The files that one run produces. They are streamed to the object store or, with `inline`, collected as data
 * URIs and not stored, up to the size that fits into a response.
 */
export class ArtifactSink {
  readonly #options: ArtifactSinkOptions;
  /** File objects of the output, by the engine's number of the file. */
  readonly #produced = new Map<number, JsonObject>();
  readonly #urls = new Set<string>();

  constructor(options: ArtifactSinkOptions) {
    this.#options = options;
  }

  /** Takes one file of the engine. Rejects with `runner_incomplete_response` when its bytes are wrong. */
  async store(head: ArtifactHead, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const { inline, job } = this.#options;
    const bytes = verified(head, chunks);
    let url: string;
    if (inline && head.bytes <= LIMITS.inlineFileBytesMax) url = await dataUri(head, bytes);
    else {
      url = job.lifecycle
        ? await this.#storeRecorded(head, bytes, job.lifecycle)
        : await this.#storeByContent(head, bytes);
      this.#urls.add(url);
    }
    this.#produced.set(head.index, {
      url,
      content_type: head.contentType,
      file_name: head.fileName,
      file_size: head.bytes,
    });
  }

  /**
   * Returns the output with each `{"$artifact": n}` replaced by a file object with `url`, `content_type`,
   * `file_name` and `file_size`.
   */
  resolve(output: JsonObject): JsonObject {
    return this.#resolveValue(output) as JsonObject;
  }

  /** Returns the addresses of the stored files. */
  urls(): string[] {
    return [...this.#urls];
  }

  /** Stores a file without a lifecycle, under a key that is made of its content. */
  async #storeByContent(head: ArtifactHead, bytes: AsyncIterable<Uint8Array>): Promise<string> {
    const { objects, publicUrl } = this.#options;
    const key = artifactKey(head);
    await objects.put(key, Readable.from(bytes), { bytes: head.bytes, contentType: head.contentType });
    return artifactUrl(publicUrl, key);
  }

  /**
   * Stores a file with a lifecycle under its record. When an earlier attempt has stored it already, the bytes
   * are only read and verified.
   */
  async #storeRecorded(
    head: ArtifactHead,
    bytes: AsyncIterable<Uint8Array>,
    lifecycle: Lifecycle,
  ): Promise<string> {
    const { objects, files, clock, publicUrl, job } = this.#options;
    const { contentType, sha256 } = head;
    const fileId = producedFileId(job.requestId, head.index, sha256);
    const name = safeFileName(head.fileName, contentType);
    const key = fileKey(fileId);
    await files.begin({
      fileId,
      ownerId: job.ownerId,
      name,
      contentType,
      lifecycle,
      uploadUntilMs: clock.nowMs() + LIMITS.uploadBodyMs,
    });
    const claimed = await files.claim(fileId, key);
    if (claimed) {
      if (claimed.before !== undefined) this.#discard(claimed.before);
      await objects.put(key, Readable.from(bytes), { bytes: head.bytes, contentType });
      const expiresAtMs = expiryOf(lifecycle, clock.nowMs());
      const stored = { bytes: head.bytes, etag: sha256, ...(expiresAtMs !== undefined && { expiresAtMs }) };
      // Another attempt may have claimed the record since: then the record names that attempt's bytes.
      if (!(await files.store(fileId, key, stored))) this.#discard(key);
    } else for await (const _ of bytes);
    return fileUrl(`${publicUrl}${TREES.files.prefix}`, { fileId, name });
  }

  /** Deletes an object that no record names any more, in the background: the run does not depend on it. */
  #discard(key: string): void {
    const { objects, warn } = this.#options;
    objects
      .delete(key)
      .catch((error) => warn(`the file of an abandoned attempt was not deleted (${key}): ${String(error)}`));
  }

  #resolveValue(value: Json): Json {
    if (typeof value !== "object" || value === null) return value;
    if (Array.isArray(value)) return value.map((item) => this.#resolveValue(item));
    const { $artifact: index, ...rest } = value;
    if (typeof index !== "number")
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, this.#resolveValue(item)]));
    const file = this.#produced.get(index);
    if (!file)
      throw new TemperaError(
        "runner_incomplete_response",
        `The engine's output names file ${index}, which the engine never sent.`,
      );
    return { ...file, ...rest };
  }
}

async function dataUri({ contentType }: ArtifactHead, bytes: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const chunk of bytes) parts.push(chunk);
  return `data:${contentType};base64,${Buffer.concat(parts).toString("base64")}`;
}

/** Passes the bytes through. Throws at their end when they are not the ones that the engine announced. */
async function* verified(head: ArtifactHead, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of chunks) {
    hash.update(chunk);
    bytes += chunk.length;
    yield chunk;
  }
  if (bytes !== head.bytes || hash.digest("hex") !== head.sha256) {
    throw new TemperaError(
      "runner_incomplete_response",
      `The engine sent ${bytes} bytes of ${head.fileName}, which are not the ${head.bytes} bytes that ` +
        "it announced.",
    );
  }
}
