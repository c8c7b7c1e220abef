/** Values too big to travel go to the object store and are carried as a reference (the claim-check pattern). */
import { TemperaError } from "./errors/tempera-error.ts";
import type { Stored } from "./json.ts";
import { LIMITS } from "./limits.ts";
import type { ObjectStore } from "./ports/object-store.ts";

/** Keeps `value` inline up to `LIMITS.inlineBytesMax` bytes of JSON, else puts it under `key`. */
export async function store<T>(objects: Pick<ObjectStore, "put">, key: string, value: T): Promise<Stored<T>> {
  const json = JSON.stringify(value);
  if (json.length * 3 <= LIMITS.inlineBytesMax) return { inline: value };
  const bytes = Buffer.from(json);
  if (bytes.length <= LIMITS.inlineBytesMax) return { inline: value };
  await objects.put(key, bytes, { bytes: bytes.length, contentType: "application/json" });
  return { ref: key };
}

export async function retrieve<T>(objects: Pick<ObjectStore, "get">, stored: Stored<T>): Promise<T> {
  if ("inline" in stored) return stored.inline;
  const found = await objects.get(stored.ref);
  if (!found) throw new TemperaError("store_unavailable", `The object store has lost ${stored.ref}.`);
  const chunks: Buffer[] = [];
  for await (const chunk of found.body) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString("utf8")) as T;
}
