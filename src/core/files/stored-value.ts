/**
 * A stored value is a JSON value that is passed on inline while it is small, and as a reference to an object
 * when it is large (the claim-check pattern). A large one counts for its owner (`counted-object.ts`).
 */

import { createHash, randomBytes } from "node:crypto";
import { TemperaError } from "../errors/tempera-error.ts";
import { parseJson, writeJson } from "../json/exact-json.ts";
import type { Stored } from "../json/json.ts";
import { LIMITS } from "../limits.ts";
import { type CountedObjectStores, putCounted } from "./counted-object.ts";
import type { ObjectStore } from "./object-store.ts";
import { isTransient, TOMBSTONE } from "./transient.ts";

/** The location of a value that is stored as an object. */
export interface ValueLocation {
  /** For whom it counts, or how to find that out, if it counts; `undefined` when that is not known. */
  ownerId: string | undefined | (() => Promise<string | undefined>);
  key: string;
  /**
   * Gives each call an object of its own, which it may delete again.
   *
   * @default false
   */
  unique?: boolean;
}

/**
 * Stores `value` inline up to `LIMITS.inlineBytesMax` bytes of JSON, otherwise as an object. Its key is `key`
 * with the digest of the value before the ending: two attempts that store different values under one key do
 * not overwrite each other's, and an attempt that is repeated stores nothing more. Rejects as `putCounted`.
 */
export async function store<T>(
  stores: CountedObjectStores,
  { unique = false, ...location }: ValueLocation,
  value: T,
): Promise<Stored<T>> {
  const json = writeJson(value);
  if (json.length * 3 <= LIMITS.inlineBytesMax) return { inline: value };
  const bytes = Buffer.from(json);
  if (bytes.length <= LIMITS.inlineBytesMax) return { inline: value };
  const digest = () => createHash("sha256").update(bytes).digest("hex").slice(0, SUFFIX_DIGITS);
  return putValue(stores, location, unique ? randomSuffix() : digest(), bytes);
}

/**
 * Stores `value` as an object, however small it is, under `key` with random digits: the reference contains
 * nothing of it. One that would fit inline and is kept only until delivery does not count. Rejects as
 * `putCounted`.
 */
export async function storeApart<T>(
  stores: CountedObjectStores,
  location: ValueLocation,
  value: T,
): Promise<{ ref: string }> {
  return putValue(stores, location, randomSuffix(), Buffer.from(writeJson(value)));
}

/** Digits that are added to a key: the values of one key are few. */
const SUFFIX_DIGITS = 16;

const randomSuffix = (): string => randomBytes(SUFFIX_DIGITS / 2).toString("hex");

async function putValue(
  stores: CountedObjectStores,
  { ownerId, key }: ValueLocation,
  suffix: string,
  bytes: Buffer,
): Promise<{ ref: string }> {
  const ref = key.replace(/(\.json)?$/, `-${suffix}.json`);
  const info = { bytes: bytes.length, contentType: "application/json" };
  const isSmall = isTransient({ ref }) && bytes.length <= LIMITS.inlineBytesMax;
  const owner = isSmall ? undefined : typeof ownerId === "function" ? await ownerId() : ownerId;
  if (owner === undefined) await stores.objects.put(ref, bytes, info);
  else await putCounted(stores, { ownerId: owner, objectKey: ref }, () => bytes, info);
  return { ref };
}

/** The objects of stored values, as their reader has them. */
export type ValueSource = Pick<ObjectStore, "get"> & {
  /** Parses a large value when it is its turn. @default at once */
  inTurn?<T>(parse: () => T): Promise<T>;
};

/**
 * Reads a stored value. Rejects with `payload_gone` when it was deleted, and with `store_unavailable` when it
 * cannot be read completely.
 */
export async function retrieve<T>(objects: ValueSource, stored: Stored<T>): Promise<T> {
  if ("inline" in stored) return stored.inline;
  const bytes = await retrieveJson(objects, stored.ref);
  const parse = () => parseJson(bytes.toString("utf8")) as T;
  return objects.inTurn ? objects.inTurn(parse) : parse();
}

/** Reads the JSON of a value that is stored as an object. Rejects as `retrieve` does. */
export async function retrieveJson(objects: Pick<ObjectStore, "get">, ref: string): Promise<Buffer> {
  const found = await objects.get(ref);
  if (!found && (ref === TOMBSTONE.ref || isTransient({ ref }))) throw new TemperaError("payload_gone");
  if (!found) throw new TemperaError("store_unavailable", `The object store has no object ${ref}.`);
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of found.body) chunks.push(chunk as Buffer);
  } catch (error) {
    throw new TemperaError(
      "store_unavailable",
      `Reading ${ref} from the object store was interrupted (${(error as Error).message}).`,
      {
        cause: error,
      },
    );
  }
  return Buffer.concat(chunks);
}
