import type { Readable } from "node:stream";

export interface ObjectInfo {
  bytes: number;
  contentType: string;
}

/** An object in a listing. */
export interface ListedObject {
  key: string;
  bytes: number;
  /** Time of its last `put`. */
  modifiedAtMs: number;
}

/** An upload in parts. `uploadId` is the store's own id of it. */
export interface PartsUpload {
  key: string;
  uploadId: string;
}

/**
 * The object store has the bytes: files, artifacts, checkpoints, and values over the inline limit. Objects
 * are immutable: a key is written once, and writing it again with the same bytes changes nothing. Only a
 * checkpoint is replaced by a newer one under the same key.
 *
 * Keys are relative paths of `[A-Za-z0-9._-]` segments; anything else rejects with `file_unknown`. Every
 * method rejects with `store_unavailable` when the store cannot be reached or is full.
 */
export interface ObjectStore {
  /** Puts an object atomically: a reader sees all of it or none. `bytes` must be the length of `body`. */
  put(key: string, body: Buffer | Readable, info: ObjectInfo): Promise<void>;
  head(key: string): Promise<ObjectInfo | undefined>;
  /** `range` is inclusive and must lie within the object. */
  get(
    key: string,
    range?: { start: number; end: number },
  ): Promise<{ info: ObjectInfo; body: Readable } | undefined>;
  delete(key: string): Promise<void>;
  /**
   * Lists the objects below a folder by rising key, at most `limit`, those after the key `after`.
   *
   * @param folder whole segments with a `/` at the end: `inputs/`
   */
  list(folder: string, after: string | undefined, limit: number): Promise<ListedObject[]>;

  /**
   * Begins an upload in parts; no reader sees any of it before `completeParts`. Returns its `uploadId`.
   */
  beginParts(key: string, contentType: string): Promise<string>;
  /**
   * Puts a part of `bytes` bytes, in any order and concurrently; a part that is put again replaces the
   * earlier one. Returns their MD5 in hex. Rejects with `upload_unknown` once the upload is complete or
   * aborted.
   *
   * @param number 1 to 10,000
   */
  putPart(upload: PartsUpload, number: number, body: Buffer | Readable, bytes: number): Promise<string>;
  /**
   * Joins the parts by rising number into the object, without holding them in memory. Calling it again with
   * the same parts changes nothing. Rejects with `upload_parts_invalid` for a part that does not exist with
   * that etag, and with `upload_unknown` for an upload that was aborted. Each part but the last must have at
   * least `LIMITS.uploadPartBytesMin` bytes, as S3 requires.
   */
  completeParts(
    upload: PartsUpload,
    parts: { number: number; etag: string }[],
    info: ObjectInfo,
  ): Promise<void>;
  /** Aborts an upload and deletes its parts; a complete or unknown one is left as it is. */
  abortParts(upload: PartsUpload): Promise<void>;
}
