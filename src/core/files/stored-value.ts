/**
 * Values too big to travel go to the object store and are carried as a reference (the claim-check pattern).
 */
import { TemperaError } from "../errors/tempera-error.ts";
import type { Stored } from "../json/json.ts";
import { LIMITS } from "../limits.ts";
import type { ObjectStore } from "./object-store.ts";

/** Keeps `value` inline up to `LIMITS.inlineBytesMax` bytes of JSON, else puts it under `key`. */
export async function store<T>(objects: Pick<ObjectStore, "put">, key: string, value: T): Promise<Stored<T>> {
  const json = JSON.stringify(value);
  if (json.length * 3 <= LIMITS.inlineBytesMax) return { inline: value };
  const bytes = Buffer.from(json);
  if (bytes.length <= LIMITS.inlineBytesMax) return { inline: value };
  await objects.put(key, bytes, { bytes: bytes.length, contentType: "application/json" });
  return { ref: key };
}

/**
 * Where values lie that are kept only until they are delivered: apart from all records, which carry their
 * keys alone.
 */
export const TRANSIENT_FOLDER = "transient/";

export const transientKey = (requestId: string, what: "input" | "output"): string =>
  `${TRANSIENT_FOLDER}${requestId}/${what}.json`;

/** Whether a value is kept only until it is delivered. */
export const isTransient = (stored: Stored<unknown>): boolean =>
  "ref" in stored && stored.ref.startsWith(TRANSIENT_FOLDER);

/** What stands for a value that was deleted: a key that nothing lies at. */
export const TOMBSTONE = { ref: "gone" } as const;

/** Puts `value` under `key`, however small it is: what carries the reference holds nothing of it. */
export async function storeApart<T>(
  objects: Pick<ObjectStore, "put">,
  key: string,
  value: T,
): Promise<Stored<T>> {
  const bytes = Buffer.from(JSON.stringify(value));
  await objects.put(key, bytes, { bytes: bytes.length, contentType: "application/json" });
  return { ref: key };
}

/**
 * Reads a value. Rejects with `payload_gone` for one that was deleted, and with `store_unavailable` for one
 * that cannot be read whole.
 */
export async function retrieve<T>(objects: Pick<ObjectStore, "get">, stored: Stored<T>): Promise<T> {
  if ("inline" in stored) return stored.inline;
  const found = await objects.get(stored.ref);
  if (!found && (stored.ref === TOMBSTONE.ref || isTransient(stored))) throw new TemperaError("payload_gone");
  if (!found) throw new TemperaError("store_unavailable", `The object store has lost ${stored.ref}.`);
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of found.body) chunks.push(chunk as Buffer);
  } catch (error) {
    throw new TemperaError(
      "store_unavailable",
      `The object store broke off ${stored.ref} (${(error as Error).message}).`,
      {
        cause: error,
      },
    );
  }
  return JSON.parse(Buffer.concat(chunks).toString("utf8")) as T;
}
