import { TemperaError } from "../../core/errors/tempera-error.ts";

const KEY = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/;

/** Passes a key through that can name an object; throws `file_unknown` for any other: no `..`, no hidden files, no odd characters. */
export function objectKey(key: string): string {
  if (key.length > 500 || !KEY.test(key)) throw new TemperaError("file_unknown");
  return key;
}
