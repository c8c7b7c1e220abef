import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { artifactKey, artifactUrl } from "../core/artifact.ts";
import type { ArtifactHead, EngineListener } from "../core/engine.ts";
import { TemperaError } from "../core/errors/tempera-error.ts";
import type { Json, JsonObject } from "../core/json.ts";
import type { ObjectStore } from "../core/ports/object-store.ts";

export interface ArtifactSink {
  take: EngineListener["artifact"];
  /** The output with every `{"$artifact": n}` made a file object: `url`, `content_type`, `file_name`, `file_size`. */
  resolve(output: JsonObject): JsonObject;
}

/**
 * Streams produced files to the object store, or collects them as data URIs (`inline`: fal's `sync_mode`, where nothing is
 * stored).
 */
export function createArtifactSink({
  objects,
  publicUrl,
  inline,
}: {
  objects: Pick<ObjectStore, "put">;
  publicUrl: string;
  inline: boolean;
}): ArtifactSink {
  const files = new Map<number, JsonObject>();
  return {
    async take(head, chunks) {
      const bytes = verified(head, chunks);
      let url: string;
      if (inline) {
        const parts: Uint8Array[] = [];
        for await (const chunk of bytes) parts.push(chunk);
        url = `data:${head.contentType};base64,${Buffer.concat(parts).toString("base64")}`;
      } else {
        const key = artifactKey(head);
        await objects.put(key, Readable.from(bytes), { bytes: head.bytes, contentType: head.contentType });
        url = artifactUrl(publicUrl, key);
      }
      files.set(head.index, { url, content_type: head.contentType, file_name: head.fileName, file_size: head.bytes });
    },
    resolve(output) {
      const walk = (value: Json): Json => {
        if (typeof value !== "object" || value === null) return value;
        if (Array.isArray(value)) return value.map(walk);
        const { $artifact: index, ...rest } = value;
        if (typeof index !== "number") return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, walk(item)]));
        const file = files.get(index);
        if (!file) throw new TemperaError("runner_incomplete_response", `The engine's output names file ${index}, which it never sent.`);
        return { ...file, ...rest };
      };
      return walk(output) as JsonObject;
    },
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
