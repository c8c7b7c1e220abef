import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { artifactKey, artifactUrl } from "../../core/files/artifact.ts";
import type { ArtifactHead, EngineListener } from "../../core/engines/engine.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { fileKey, fileUrl, producedFileId, safeFileName } from "../../core/files/file.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import type { Json, JsonObject } from "../../core/json/json.ts";
import { expiryOf, type Lifecycle } from "../../core/files/lifecycle.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { FileStore } from "../../core/files/file-store.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";
import { TREES } from "../../fal/index.ts";

export interface ArtifactSink {
  take: EngineListener["artifact"];
  /**
   * The output with every `{"$artifact": n}` made a file object: `url`, `content_type`, `file_name`,
   * `file_size`.
   */
  resolve(output: JsonObject): JsonObject;
  /** Addresses of what was stored. */
  urls(): string[];
}

/**
 * Streams produced files to the object store, or collects them as data URIs (`inline`: fal's `sync_mode`,
 * where nothing is stored) up to the size that fits an answer.
 */
export function createArtifactSink({
  objects,
  files,
  clock,
  publicUrl,
  job,
  inline,
  warn,
}: {
  objects: Pick<ObjectStore, "put" | "delete">;
  files: Pick<FileStore, "begin" | "claim" | "store">;
  clock: Clock;
  publicUrl: string;
  job: Pick<JobSpec, "requestId" | "ownerId" | "lifecycle">;
  inline: boolean;
  /** What went wrong and is nobody's failure. */
  warn: (message: string) => void;
}): ArtifactSink {
  const produced = new Map<number, JsonObject>();
  const urls = new Set<string>();

  /** Removes what no record names any more. Not waited for: the run does not depend on it. */
  const discard = (key: string): void => {
    objects
      .delete(key)
      .catch((error) => warn(`a file that an attempt gave up was not deleted (${key}): ${String(error)}`));
  };

  /**
   * Keeps a file under its record; one that an earlier attempt has kept already is only read to its end.
   * Returns its address.
   */
  const keep = async (
    head: ArtifactHead,
    bytes: AsyncIterable<Uint8Array>,
    lifecycle: Lifecycle,
  ): Promise<string> => {
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
      if (claimed.before !== undefined) discard(claimed.before);
      await objects.put(key, Readable.from(bytes), { bytes: head.bytes, contentType });
      const expiresAtMs = expiryOf(lifecycle, clock.nowMs());
      const stored = { bytes: head.bytes, etag: sha256, ...(expiresAtMs !== undefined && { expiresAtMs }) };
      // Another attempt has claimed it since: the record names that one's bytes.
      if (!(await files.store(fileId, key, stored))) discard(key);
    } else for await (const _ of bytes);
    return fileUrl(`${publicUrl}${TREES.files.prefix}`, { fileId, name });
  };

  return {
    async take(head, chunks) {
      const bytes = verified(head, chunks);
      let url: string;
      if (inline && head.bytes <= LIMITS.inlineFileBytesMax) {
        const parts: Uint8Array[] = [];
        for await (const chunk of bytes) parts.push(chunk);
        url = `data:${head.contentType};base64,${Buffer.concat(parts).toString("base64")}`;
      } else if (job.lifecycle) url = await keep(head, bytes, job.lifecycle);
      else {
        const key = artifactKey(head);
        await objects.put(key, Readable.from(bytes), { bytes: head.bytes, contentType: head.contentType });
        url = artifactUrl(publicUrl, key);
      }
      if (!url.startsWith("data:")) urls.add(url);
      produced.set(head.index, {
        url,
        content_type: head.contentType,
        file_name: head.fileName,
        file_size: head.bytes,
      });
    },
    resolve(output) {
      const walk = (value: Json): Json => {
        if (typeof value !== "object" || value === null) return value;
        if (Array.isArray(value)) return value.map(walk);
        const { $artifact: index, ...rest } = value;
        if (typeof index !== "number")
          return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, walk(item)]));
        const file = produced.get(index);
        if (!file)
          throw new TemperaError(
            "runner_incomplete_response",
            `The engine's output names file ${index}, which it never sent.`,
          );
        return { ...file, ...rest };
      };
      return walk(output) as JsonObject;
    },
    urls: () => [...urls],
  };
}

/** Passes the bytes through and refuses them at the end when they are not the ones announced. */
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
      `The engine sent ${bytes} bytes of ${head.fileName} that are not the ${head.bytes} it announced.`,
    );
  }
}
