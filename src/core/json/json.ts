/**
 * JSON values and the bounds, hashes and schemas of them; nothing here knows of requests or models. An
 * integer that a double cannot hold is a `bigint` (`exact-json.ts`).
 */
export type Json = string | number | bigint | boolean | null | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/**
 * A value that may be too large to be passed on: inline up to `LIMITS.inlineBytesMax`, otherwise the key of
 * an object in the object store.
 */
export type Stored<T> = { inline: T } | { ref: string };

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
