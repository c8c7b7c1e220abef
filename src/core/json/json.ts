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

/**
 * Copies a value, deeply: several times as fast as `structuredClone`, whose copy of 20,000 objects holds the
 * event loop for some 10 ms. Bytes, which realtime inputs have, are shared: nobody changes them.
 */
export function copyJson<T extends Json>(value: T): T {
  return copyOf(value) as T;
}

function copyOf(value: Json): Json {
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  if (Array.isArray(value)) return value.map(copyOf);
  const copy: JsonObject = {};
  for (const name of Object.keys(value)) {
    const item = copyOf(value[name] as Json);
    if (name !== "__proto__") copy[name] = item;
    else
      Object.defineProperty(copy, name, {
        value: item,
        writable: true,
        enumerable: true,
        configurable: true,
      });
  }
  return copy;
}
