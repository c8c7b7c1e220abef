import type { Readable } from "node:stream";

export interface ObjectInfo {
  bytes: number;
  contentType: string;
}

/** An object as a listing has it. */
export interface ListedObject {
  key: string;
  bytes: number;
  /** When it was put last. */
  modifiedAtMs: number;
}

/** An object that arrives in parts. `uploadId` is the store's own name for its upload. */
export interface PartsUpload {
  key: string;
  uploadId: string;
}

/**
 * The bytes: inputs over the inline limit, artifacts, checkpoints. Objects are immutable: a key is written
 * once, and writing it again with the same bytes changes nothing. The exception are checkpoints: a newer one
 * takes the key's place.
 *
 * Keys are relative paths of `[A-Za-z0-9._-]` segments; anything else rejects with `file_unknown`. Every
 * method rejects with `store_unavailable` when the store cannot be reached or has no room.
 */
export interface ObjectStore {
  /** Atomic: a reader sees the whole object or none. `bytes` must be the length of `body`. */
  put(key: string, body: Buffer | Readable, info: ObjectInfo): Promise<void>;
  head(key: string): Promise<ObjectInfo | undefined>;
  /** `range` is inclusive and must lie within the object. */
  get(
    key: string,
    range?: { start: number; end: number },
  ): Promise<{ info: ObjectInfo; body: Readable } | undefined>;
  delete(key: string): Promise<void>;
  /**
   * The objects below a folder by rising key, at most `limit`, from the one after `after` on.
   *
   * @param folder whole segments with a `/` at the end: `inputs/`
   */
  list(folder: string, after: string | undefined, limit: number): Promise<ListedObject[]>;

  /**
   * Begins an object that arrives in parts; until `completeParts` nothing of it is seen. Returns its
   * `uploadId`.
   */
  beginParts(key: string, contentType: string): Promise<string>;
  /**
   * Puts a part, in any order and beside others; one that is put again replaces the earlier. Streams `bytes`
   * bytes, returns their MD5 in hex. Rejects with `upload_unknown` once the upload is complete or was given
   * up.
   *
   * @param number 1 to 10,000
   */
  putPart(upload: PartsUpload, number: number, body: Buffer | Readable, bytes: number): Promise<string>;
  /**
   * Makes the object of its parts, by rising number, without holding them in memory. Again with the same
   * parts it changes nothing. Rejects with `upload_parts_invalid` for a part that is not there with that
   * etag, `upload_unknown` for an upload that was given up. Each part but the last must have
   * `LIMITS.uploadPartBytesMin` bytes: S3 wants it.
   */
  completeParts(
    upload: PartsUpload,
    parts: { number: number; etag: string }[],
    info: ObjectInfo,
  ): Promise<void>;
  /** Gives an upload up and deletes its parts; one that is complete or unknown is left as it is. */
  abortParts(upload: PartsUpload): Promise<void>;
}
