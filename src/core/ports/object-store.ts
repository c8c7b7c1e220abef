import type { Readable } from "node:stream";

export interface ObjectInfo {
  bytes: number;
  contentType: string;
}

/**
 * The bytes: inputs over the inline limit, artifacts, checkpoints. Objects are immutable: a key is written once, and
 * writing it again with the same bytes changes nothing.
 *
 * Keys are relative paths of `[A-Za-z0-9._-]` segments; anything else rejects with `file_unknown`. Every method rejects with
 * `store_unavailable` when the store cannot be reached or has no room.
 */
export interface ObjectStore {
  /** Atomic: a reader sees the whole object or none. `bytes` must be the length of `body`. */
  put(key: string, body: Buffer | Readable, info: ObjectInfo): Promise<void>;
  head(key: string): Promise<ObjectInfo | undefined>;
  /** `range` is inclusive and must lie within the object. */
  get(key: string, range?: { start: number; end: number }): Promise<{ info: ObjectInfo; body: Readable } | undefined>;
  delete(key: string): Promise<void>;
}
