import { Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import type { JsonObject } from "../json/json.ts";
import { LIMITS } from "../limits.ts";
import { retrieve, store, storeApart } from "./stored-value.ts";

/** An object store in memory that returns objects in chunks of seven bytes. */
function memoryObjects() {
  const objects = new Map<string, Buffer>();
  return {
    objects,
    async put(key: string, body: Buffer | Readable) {
      objects.set(key, body as Buffer);
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

/** JSON of exactly `bytes` bytes. */
const sized = (bytes: number): JsonObject => ({ a: "x".repeat(bytes - '{"a":""}'.length) });

describe("stored values", () => {
  it("stay inline up to the limit, and are stored as objects one byte above it", async () => {
    const objects = memoryObjects();
    expect(await store(objects, "k", sized(LIMITS.inlineBytesMax))).toEqual({
      inline: sized(LIMITS.inlineBytesMax),
    });
    expect(objects.objects.size).toBe(0);
    const stored = await store(objects, "k.json", sized(LIMITS.inlineBytesMax + 1));
    expect(stored).toEqual({ ref: expect.stringMatching(/^k-[0-9a-f]{16}\.json$/) });
    expect(objects.objects.get((stored as { ref: string }).ref)?.length).toBe(LIMITS.inlineBytesMax + 1);
  });

  it.each([
    ["store", store],
    ["storeApart", storeApart],
  ])("are not overwritten by what a late attempt stores under their key: %s", async (_, put) => {
    const objects = memoryObjects();
    const [first, late] = [1, 2].map((attempt) => ({ attempt, ...sized(LIMITS.inlineBytesMax) }));
    const stored = await put(objects, "outcomes/r.json", first as JsonObject);
    await put(objects, "outcomes/r.json", late as JsonObject);
    expect(await retrieve(objects, stored)).toEqual(first);
  });

  it("are measured in bytes, not in characters", async () => {
    const objects = memoryObjects();
    const characters = Math.floor(LIMITS.inlineBytesMax / 3);
    expect(await store(objects, "k", { a: "漢".repeat(characters) })).toHaveProperty("ref");
    expect(await store(objects, "k", { a: "漢".repeat(characters - 20) })).toHaveProperty("inline");
  });

  it("are read unchanged from both, also when a character is split between chunks", async () => {
    const objects = memoryObjects();
    for (const value of [{ a: 1 }, { a: "é漢😀".repeat(10_000), n: [1.5, null, true] }]) {
      expect(await retrieve(objects, await store(objects, "k", value))).toEqual(value);
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
