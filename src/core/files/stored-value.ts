/**
 * A stored value is a JSON value that is passed on inline while it is small, and as a reference to an object
 * when it is large (the claim-check pattern).
 */

import { createHash, randomBytes } from "node:crypto";
import { TemperaError } from "../errors/tempera-error.ts";
import { parseJson, writeJson } from "../json/exact-json.ts";
import type { Stored } from "../json/json.ts";
import { LIMITS } from "../limits.ts";
import type { ObjectStore } from "./object-store.ts";
import { isTransient, TOMBSTONE } from "./transient.ts";

/**
 * Stores `value` inline up to `LIMITS.inlineBytesMax` bytes of JSON, otherwise as an object. Its key is `key`
 * with the digest of the value before the ending: two attempts, or two submits with one idempotency key, that
 * store different values under one key do not overwrite each other's.
 */
export async function store<T>(objects: Pick<ObjectStore, "put">, key: string, value: T): Promise<Stored<T>> {
  const json = writeJson(value);
  if (json.length * 3 <= LIMITS.inlineBytesMax) return { inline: value };
  const bytes = Buffer.from(json);
  if (bytes.length <= LIMITS.inlineBytesMax) return { inline: value };
  const digest = createHash("sha256").update(bytes).digest("hex").slice(0, SUFFIX_DIGITS);
  return putValue(objects, keyWith(key, digest), bytes);
}

/**
 * Stores `value` as an object, however small it is, under `key` with random digits: the reference contains
 * nothing of it.
 */
export async function storeApart<T>(
  objects: Pick<ObjectStore, "put">,
  key: string,
  value: T,
): Promise<{ ref: string }> {
  const suffix = randomBytes(SUFFIX_DIGITS / 2).toString("hex");
  return putValue(objects, keyWith(key, suffix), Buffer.from(writeJson(value)));
}

/** Digits that are added to a key: the values of one key are few. */
const SUFFIX_DIGITS = 16;

const keyWith = (key: string, suffix: string): string => key.replace(/(\.json)?$/, `-${suffix}.json`);

async function putValue(
  objects: Pick<ObjectStore, "put">,
  ref: string,
  bytes: Buffer,
): Promise<{ ref: string }> {
  await objects.put(ref, bytes, { bytes: bytes.length, contentType: "application/json" });
  return { ref };
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
