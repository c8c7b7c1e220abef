export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/**
 * A value that may be too big to travel: carried inline up to `LIMITS.inlineBytesMax`, else by its key in the
 * object store.
 */
export type Stored<T> = { inline: T } | { ref: string };

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);
