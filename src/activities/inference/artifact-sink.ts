import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import type { ArtifactHead } from "../../core/engines/engine.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { artifactKey, artifactUrl, type NameArtifact } from "../../core/files/artifact.ts";
import { putCounted } from "../../core/files/counted-object.ts";
import { fileKey, fileUrl, producedFileId, safeFileName } from "../../core/files/file.ts";
import type { FileStore } from "../../core/files/file-store.ts";
import { expiryOf, type Lifecycle } from "../../core/files/lifecycle.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";
import { SIGNATURE_MARK } from "../../core/files/private-address.ts";
import type { Json, JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { Log } from "../../core/operations/log.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import { TREES } from "../../fal/index.ts";
import type { ByteBudget } from "./byte-budget.ts";
import { isWaitedFor } from "./store-wait.ts";

export interface ArtifactSinkOptions {
  objects: Pick<ObjectStore, "put" | "delete">;
  files: Pick<FileStore, "begin" | "claim" | "store" | "countObject" | "uncountObjects">;
  clock: Clock;
  /** Memory of this GPU worker for files on their way to the store. */
  keptBytes: ByteBudget;
  /** Bytes of all files of the run together. */
  outputBytesMax: number;
  nameArtifact: NameArtifact;
  /** Base of the URLs under which the files are served. */
  filesUrl: string;
  job: Pick<JobSpec, "requestId" | "ownerId" | "lifecycle">;
  /** Return files as data URIs where they fit (fal's `sync_mode`). */
  inline: boolean;
  /** Receives messages about failures that do not affect the run. */
  log: Pick<Log, "warn">;
}

/** The target of a produced file: its address, and how its bytes get there. */
interface FileTarget {
  url: string;
  put(body: () => Buffer | Readable): Promise<void>;
}

/**
 * The files that one run produces. They go to the object store or, with `inline`, are collected as data URIs
 * and not stored, up to the size that fits into a response.
 *
 * A file is held in memory until it is stored, where it fits into what this worker has left for files. If a
 * store does not take it, it is kept: the engine goes on meanwhile, and `storeKept` stores it. Other files
 * are streamed and fail at once. Dispose of it when the run has ended, which frees the memory.
 */
export class ArtifactSink implements Disposable {
  readonly #options: ArtifactSinkOptions;
  /** File objects of the output, by the engine's number of the file. */
  readonly #produced = new Map<number, JsonObject>();
  readonly #urls = new Set<string>();
  /** Bytes that the engine has announced. */
  #bytes = 0;
  /** The storing of each file that is kept because a store did not take it. */
  readonly #kept: { bytes: number; put: () => Promise<void> }[] = [];
  #ended = false;

  constructor(options: ArtifactSinkOptions) {
    this.#options = options;
  }

  /**
   * Takes one file of the engine. Rejects with `runner_incomplete_response` when its bytes are wrong, with
   * `output_too_large` when the run's files are together too many or too large, and with `storage_limit` when
   * their owner has no room for it.
   */
  async store(head: ArtifactHead, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const { inline } = this.#options;
    this.#count(head);
    const bytes = verified(head, chunks);
    let url: string;
    if (inline && head.bytes <= LIMITS.inlineFileBytesMax) url = dataUri(head, await collected(head, bytes));
    else {
      const file = this.#targetOf(head);
      url = file.url;
      await this.#storeOrKeep(head, bytes, file.put);
      this.#urls.add(url);
    }
    this.#produced.set(head.index, {
      url,
      content_type: head.contentType,
      file_name: head.fileName,
      file_size: head.bytes,
    });
  }

  /** Counts a file before any of it is stored. */
  #count(head: ArtifactHead): void {
    const { outputBytesMax } = this.#options;
    this.#bytes += head.bytes;
    if (this.#bytes > outputBytesMax)
      throw new TemperaError(
        "output_too_large",
        `The files of one request may have ${outputBytesMax.toLocaleString("en-US")} bytes together, ` +
          "and these have more. Ask for less, or the operator for more.",
      );
    if (!this.#produced.has(head.index) && this.#produced.size >= LIMITS.outputFilesMax)
      throw new TemperaError(
        "output_too_large",
        `This request has produced ${LIMITS.outputFilesMax} files, as many as one may. Ask for fewer.`,
      );
  }

  /** Stores the files that are kept. @param retry does the storing of one file, again if need be */
  async storeKept(retry: (work: () => Promise<void>) => Promise<void>): Promise<void> {
    for (let next = this.#kept[0]; next; next = this.#kept[0]) {
      await retry(next.put);
      this.#kept.shift();
      this.#options.keptBytes.release(next.bytes);
    }
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    for (const { bytes } of this.#kept.splice(0)) this.#options.keptBytes.release(bytes);
  }

  /** Stores a file. Keeps it when a store fails and there is memory left for it. */
  async #storeOrKeep(
    head: ArtifactHead,
    bytes: AsyncIterable<Uint8Array>,
    put: (body: () => Buffer | Readable) => Promise<void>,
  ): Promise<void> {
    const { keptBytes } = this.#options;
    if (!keptBytes.take(head.bytes)) {
      await put(() => Readable.from(bytes));
      for await (const _ of bytes);
      return;
    }
    let isKept = false;
    try {
      const body = await collected(head, bytes);
      await put(() => body).catch((error) => {
        if (!isWaitedFor(error)) throw error;
        isKept = !this.#ended;
        if (isKept) this.#kept.push({ bytes: head.bytes, put: () => put(() => body) });
      });
    } finally {
      if (!isKept) keptBytes.release(head.bytes);
    }
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

  /** Returns the address of a file, and how it is stored. */
  #targetOf(head: ArtifactHead): FileTarget {
    const { job, filesUrl, nameArtifact } = this.#options;
    if (job.lifecycle) return this.#recordedTargetOf(head, job.lifecycle);
    // A file without a lifecycle has a key that is made of its owner and its content.
    const key = artifactKey({ ...head, name: nameArtifact(job.ownerId, head.sha256) });
    const object = { ownerId: job.ownerId, objectKey: key };
    const { bytes, contentType } = head;
    return {
      url: artifactUrl(filesUrl, key),
      put: (body) => putCounted(this.#options, object, body, { bytes, contentType }),
    };
  }

  /**
   * Returns the target of a file with a lifecycle, which is stored under its record. Nothing is stored when
   * an earlier attempt has done so already.
   */
  #recordedTargetOf(head: ArtifactHead, lifecycle: Lifecycle): FileTarget {
    const { objects, files, clock, filesUrl, job } = this.#options;
    const { contentType, sha256 } = head;
    const fileId = producedFileId(job.requestId, head.index, sha256);
    const name = safeFileName(head.fileName, contentType);
    const key = fileKey(fileId);
    const put = async (body: () => Buffer | Readable): Promise<void> => {
      await files.begin(
        {
          fileId,
          ownerId: job.ownerId,
          name,
          contentType,
          lifecycle,
          uploadUntilMs: clock.nowMs() + LIMITS.uploadBodyMs,
        },
        head.bytes,
      );
      const claimed = await files.claim(fileId, key, head.bytes);
      if (!claimed) return;
      if (claimed.before !== undefined && claimed.before !== key) this.#discard(claimed.before);
      await objects.put(key, body(), { bytes: head.bytes, contentType });
      const expiresAtMs = expiryOf(lifecycle, clock.nowMs());
      const stored = { bytes: head.bytes, etag: sha256, ...(expiresAtMs !== undefined && { expiresAtMs }) };
      // Another attempt may have claimed the record since: then the record names that attempt's bytes.
      if (!(await files.store(fileId, key, stored))) this.#discard(key);
    };
    const url = fileUrl(`${filesUrl}${TREES.files.prefix}`, { fileId, name });
    return { url: lifecycle.signed ? url + SIGNATURE_MARK : url, put };
  }

  /** Deletes an object that no record names any more, in the background: the run does not depend on it. */
  #discard(key: string): void {
    const { objects, log } = this.#options;
    objects
      .delete(key)
      .catch((error) =>
        log.warn({}, `the file of an abandoned attempt was not deleted (${key}): ${String(error)}`),
      );
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

function dataUri({ contentType }: ArtifactHead, bytes: Buffer): string {
  return `data:${contentType};base64,${bytes.toString("base64")}`;
}

/** Reads a file into memory, without a second copy. `bytes` throw at their end when they are too many. */
async function collected(head: ArtifactHead, bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const body = Buffer.allocUnsafe(head.bytes);
  let at = 0;
  for await (const chunk of bytes) {
    if (at + chunk.length <= body.length) body.set(chunk, at);
    at += chunk.length;
  }
  return body;
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
