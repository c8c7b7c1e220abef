/**
 * A stored value is a JSON value that is passed on inline while it is small, and as a reference to an object
 * when it is large (the claim-check pattern).
 */

import { TemperaError } from "../errors/tempera-error.ts";
import { parseJson, writeJson } from "../json/exact-json.ts";
import type { Stored } from "../json/json.ts";
import { LIMITS } from "../limits.ts";
import type { ObjectStore } from "./object-store.ts";

/** Stores `value` inline up to `LIMITS.inlineBytesMax` bytes of JSON, otherwise as the object `key`. */
export async function store<T>(objects: Pick<ObjectStore, "put">, key: string, value: T): Promise<Stored<T>> {
  const json = writeJson(value);
  if (json.length * 3 <= LIMITS.inlineBytesMax) return { inline: value };
  const bytes = Buffer.from(json);
  if (bytes.length <= LIMITS.inlineBytesMax) return { inline: value };
  await objects.put(key, bytes, { bytes: bytes.length, contentType: "application/json" });
  return { ref: key };
}

/** Folder of values that are kept only until delivery, apart from all records, which have only their keys. */
export const TRANSIENT_FOLDER = "transient/";

export function transientKey(requestId: string, what: "input" | "output"): string {
  return `${TRANSIENT_FOLDER}${requestId}/${what}.json`;
}

/** Tells whether a value is kept only until delivery. */
export function isTransient(stored: Stored<unknown>): boolean {
  return "ref" in stored && stored.ref.startsWith(TRANSIENT_FOLDER);
}

/** The reference that replaces a deleted value: a key without an object. */
export const TOMBSTONE = { ref: "gone" } as const;

/** Stores `value` as the object `key`, however small it is, so that the reference contains nothing of it. */
export async function storeApart<T>(
  objects: Pick<ObjectStore, "put">,
  key: string,
  value: T,
): Promise<Stored<T>> {
  const bytes = Buffer.from(writeJson(value));
  await objects.put(key, bytes, { bytes: bytes.length, contentType: "application/json" });
  return { ref: key };
}

/**
 * Reads a stored value. Rejects with `payload_gone` when it was deleted, and with `store_unavailable` when it
 * cannot be read completely.
 */
export async function retrieve<T>(objects: Pick<ObjectStore, "get">, stored: Stored<T>): Promise<T> {
  if ("inline" in stored) return stored.inline;
  const found = await objects.get(stored.ref);
  if (!found && (stored.ref === TOMBSTONE.ref || isTransient(stored))) throw new TemperaError("payload_gone");
  if (!found) throw new TemperaError("store_unavailable", `The object store has no object ${stored.ref}.`);
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of found.body) chunks.push(chunk as Buffer);
  } catch (error) {
    throw new TemperaError(
      "store_unavailable",
      `Reading ${stored.ref} from the object store was interrupted (${(error as Error).message}).`,
      {
        cause: error,
      },
    );
  }
  return parseJson(Buffer.concat(chunks).toString("utf8")) as T;
}
