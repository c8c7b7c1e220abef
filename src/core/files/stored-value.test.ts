import { Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import { storeFull } from "../errors/store-failure.ts";
import { TemperaError } from "../errors/tempera-error.ts";
import type { JsonObject } from "../json/json.ts";
import { LIMITS } from "../limits.ts";
import { type CountedObjectStores, deleteCounted, putCounted } from "./counted-object.ts";
import type { OwnedObject } from "./file-store.ts";
import { retrieve, store, storeApart } from "./stored-value.ts";

/** An object store in memory that returns objects in chunks of seven bytes. */
function memoryObjects() {
  const objects = new Map<string, Buffer>();
  return {
    objects,
    async put(key: string, body: Buffer | Readable) {
      objects.set(key, body as Buffer);
    },
    async delete(key: string) {
      objects.delete(key);
    },
    async get(key: string) {
      const bytes = objects.get(key);
      const chunks = (bytes ? [...Array(Math.ceil(bytes.length / 7)).keys()] : []).map((i) =>
        bytes?.subarray(i * 7, i * 7 + 7),
      );
      return (
        bytes && {
          info: { bytes: bytes.length, contentType: "application/json" },
          body: Readable.from(chunks),
        }
      );
    },
  };
}

/** Stores on these objects; `counted` has the counted bytes by owner and key. */
function storesOn(objects: CountedObjectStores["objects"], fault?: TemperaError) {
  const counted = new Map<string, number>();
  const warnings: string[] = [];
  return {
    objects,
    counted,
    warnings,
    log: { warn: (_: object, message: string) => void warnings.push(message) },
    files: {
      async countObject({ ownerId, objectKey, bytes }: OwnedObject) {
        if (fault) throw fault;
        const isNew = !counted.has(`${ownerId} ${objectKey}`);
        counted.set(`${ownerId} ${objectKey}`, bytes);
        return isNew;
      },
      async uncountObjects(keys: string[]) {
        for (const name of counted.keys())
          if (keys.some((key) => name.endsWith(` ${key}`))) counted.delete(name);
      },
    },
  };
}

/** JSON of exactly `bytes` bytes. */
const sized = (bytes: number): JsonObject => ({ a: "x".repeat(bytes - '{"a":""}'.length) });

describe("stored values", () => {
  it("stay inline up to the limit, and are stored as objects one byte above it", async () => {
    const objects = memoryObjects();
    expect(
      await store(storesOn(objects), { ownerId: "ann", key: "k" }, sized(LIMITS.inlineBytesMax)),
    ).toEqual({
      inline: sized(LIMITS.inlineBytesMax),
    });
    expect(objects.objects.size).toBe(0);
    const stored = await store(
      storesOn(objects),
      { ownerId: "ann", key: "k.json" },
      sized(LIMITS.inlineBytesMax + 1),
    );
    expect(stored).toEqual({ ref: expect.stringMatching(/^k-[0-9a-f]{16}\.json$/) });
    expect(objects.objects.get((stored as { ref: string }).ref)?.length).toBe(LIMITS.inlineBytesMax + 1);
  });

  it.each([
    ["store", store],
    ["storeApart", storeApart],
  ])("are not overwritten by what a late attempt stores under their key: %s", async (_, put) => {
    const objects = memoryObjects();
    const [first, late] = [1, 2].map((attempt) => ({ attempt, ...sized(LIMITS.inlineBytesMax) }));
    const stored = await put(
      storesOn(objects),
      { ownerId: "ann", key: "outcomes/r.json" },
      first as JsonObject,
    );
    await put(storesOn(objects), { ownerId: "ann", key: "outcomes/r.json" }, late as JsonObject);
    expect(await retrieve(objects, stored)).toEqual(first);
  });

  it("are measured in bytes, not in characters", async () => {
    const objects = memoryObjects();
    const characters = Math.floor(LIMITS.inlineBytesMax / 3);
    expect(
      await store(storesOn(objects), { ownerId: "ann", key: "k" }, { a: "漢".repeat(characters) }),
    ).toHaveProperty("ref");
    expect(
      await store(storesOn(objects), { ownerId: "ann", key: "k" }, { a: "漢".repeat(characters - 20) }),
    ).toHaveProperty("inline");
  });

  it("are read unchanged from both, also when a character is split between chunks", async () => {
    const objects = memoryObjects();
    for (const value of [{ a: 1 }, { a: "é漢😀".repeat(10_000), n: [1.5, null, true] }]) {
      expect(
        await retrieve(objects, await store(storesOn(objects), { ownerId: "ann", key: "k" }, value)),
      ).toEqual(value);
    }
  });

  it("reject with store_unavailable when reading is interrupted", async () => {
    async function* interrupted(): AsyncGenerator<Buffer> {
      yield Buffer.from('{"a":');
      throw new Error("read ECONNRESET");
    }
    const objects = {
      get: async () => ({
        info: { bytes: 9, contentType: "application/json" },
        body: Readable.from(interrupted()),
      }),
    };
    await expect(retrieve(objects, { ref: "outputs/x.json" })).rejects.toMatchObject({
      code: "store_unavailable",
    });
  });

  it("reject with store_unavailable and the key when the object is missing", async () => {
    await expect(retrieve(memoryObjects(), { ref: "inputs/x.json" })).rejects.toMatchObject({
      code: "store_unavailable",
      message: expect.stringContaining("inputs/x.json"),
    });
  });
});

describe("the bytes of stored values", () => {
  const location = { ownerId: "ann", key: "inputs/r.json" };
  const AWAY = new TemperaError("store_unavailable", "away", { store: "PostgreSQL" });

  it.each([
    ["store", store, location],
    ["storeApart", storeApart, { ownerId: "ann", key: "transient/r/input.json" }],
  ])(
    "count for their owner from before they are put, exactly above the inline limit: %s",
    async (_, put, location) => {
      const objects = memoryObjects();
      const stores = storesOn(objects);
      await put(stores, location, sized(LIMITS.inlineBytesMax));
      expect(stores.counted.size).toBe(0);
      const before: number[] = [];
      const watched = {
        put: async (key: string, body: Buffer | Readable) => {
          before.push(...stores.counted.values());
          await objects.put(key, body);
        },
      };
      const stored = await put({ ...stores, objects: watched }, location, sized(LIMITS.inlineBytesMax + 1));
      expect(before).toEqual([LIMITS.inlineBytesMax + 1]);
      expect([...stores.counted.keys()]).toEqual([`ann ${(stored as { ref: string }).ref}`]);
    },
  );

  it("count however small they are when they are kept apart for long, as those of reruns", async () => {
    const stores = storesOn(memoryObjects());
    await storeApart(stores, location, { a: 1 });
    expect([...stores.counted.values()]).toEqual(['{"a":1}'.length]);
  });

  it("ask for their owner only when they count, and are stored when nobody knows it", async () => {
    const stores = storesOn(memoryObjects());
    let lookups = 0;
    const ownerOf = (ownerId: string | undefined) => async () => {
      lookups++;
      return ownerId;
    };
    await store(stores, { ...location, ownerId: ownerOf("ann") }, { small: 1 });
    await storeApart(stores, { ownerId: ownerOf("ann"), key: "transient/r/input.json" }, { small: 1 });
    expect(lookups).toBe(0);
    await store(stores, { ...location, ownerId: ownerOf("ann") }, sized(40_000));
    expect([...stores.counted.values()]).toEqual([40_000]);
    expect(await store(stores, { ...location, ownerId: ownerOf(undefined) }, sized(41_000))).toHaveProperty(
      "ref",
    );
    expect(stores.counted.size).toBe(1);
  });

  it("count once for an attempt that is repeated, and for each call that may delete its own", async () => {
    const stores = storesOn(memoryObjects());
    const value = sized(LIMITS.inlineBytesMax + 1);
    for (const _ of [1, 2]) await store(stores, location, value);
    expect(stores.counted.size).toBe(1);
    const [mine, other] = await Promise.all(
      [1, 2].map(() => store(stores, { ...location, unique: true }, value)),
    );
    expect(mine).not.toEqual(other);
    expect(stores.counted.size).toBe(3);
  });

  it("are not stored when their owner has no room for them", async () => {
    const objects = memoryObjects();
    const stores = storesOn(objects, new TemperaError("storage_limit"));
    await expect(store(stores, location, sized(40_000))).rejects.toMatchObject({ code: "storage_limit" });
    expect(objects.objects.size).toBe(0);
  });

  it("are stored uncounted while PostgreSQL is away, with a warning", async () => {
    const objects = memoryObjects();
    const stores = storesOn(objects, AWAY);
    await store(stores, location, sized(40_000));
    expect(objects.objects.size).toBe(1);
    expect(stores.warnings).toHaveLength(1);
  });

  it("count no more when they cannot be put", async () => {
    const full = storeFull("object store", "has no space left", "free some", undefined);
    const stores = storesOn({ put: () => Promise.reject(full) });
    await expect(store(stores, location, sized(40_000))).rejects.toBe(full);
    expect(stores.counted.size).toBe(0);
  });

  it("count no more before they are deleted, so that nothing counts that nobody can find", async () => {
    const objects = memoryObjects();
    const stores = storesOn(objects);
    const info = { bytes: 1, contentType: "text/plain" };
    await putCounted(stores, { ownerId: "ann", objectKey: "k" }, () => Buffer.from("x"), info);
    const steps: number[] = [];
    const deleting = { delete: async () => void steps.push(stores.counted.size) };
    await deleteCounted({ files: stores.files, objects: deleting }, ["k"]);
    expect(steps).toEqual([0]);
    const away = { uncountObjects: () => Promise.reject(AWAY) };
    await expect(deleteCounted({ files: away, objects }, ["k"])).rejects.toBe(AWAY);
    expect(objects.objects.size).toBe(1);
  });
});
