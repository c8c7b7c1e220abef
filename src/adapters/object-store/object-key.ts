import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { ObjectInfo } from "../../core/files/object-store.ts";

const KEY = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}(\/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199})*$/;

/**
 * Returns a key that can name an object; throws `file_unknown` for any other: no `..`, no hidden files, no
 * special characters, nothing too long for a file system.
 */
export function objectKey(key: string): string {
  if (key.length > 500 || !KEY.test(key)) throw new TemperaError("file_unknown");
  return key;
}

/**
 * Returns a folder of keys: whole segments, each with a `/` after it. Throws `file_unknown` for anything
 * else.
 */
export function objectFolder(folder: string): string {
  if (!folder.endsWith("/")) throw new TemperaError("file_unknown");
  objectKey(folder.slice(0, -1));
  return folder;
}

/** Throws `range_unsatisfiable` for a range, inclusive at both ends, that does not lie within the object. */
export function checkRange({ start, end }: { start: number; end: number }, { bytes }: ObjectInfo): void {
  if (!(start >= 0 && start <= end && end < bytes)) throw new TemperaError("range_unsatisfiable");
}
