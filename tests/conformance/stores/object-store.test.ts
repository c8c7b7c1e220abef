import { randomBytes, randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createFileObjectStore } from "../../../src/adapters/object-store/file-object-store.ts";
import { createS3ObjectStore } from "../../../src/adapters/object-store/s3-object-store.ts";
import type { ObjectStore } from "../../../src/core/ports/object-store.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-objects-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const s3 = (bucket: string) =>
  createS3ObjectStore({
    endpoint: process.env.TEST_S3_ENDPOINT ?? "",
    accessKey: process.env.TEST_S3_ACCESS_KEY ?? "",
    secretKey: process.env.TEST_S3_SECRET_KEY ?? "",
    region: "us-east-1",
    bucket,
  });

describe.each<[string, () => Promise<ObjectStore>]>([
  ["files", async () => createFileObjectStore({ folder })],
  ["S3", () => s3("object-store-suite")],
])("object store on %s", (_, open) => {
  let store: ObjectStore;
  const prefix = randomUUID();
  const key = (name: string): string => `suite/${prefix}/${name}`;
  beforeAll(async () => {
    store = await open();
  });
  const put = (name: string, body: Buffer, contentType = "application/octet-stream"): Promise<void> =>
    store.put(key(name), body, { bytes: body.length, contentType });
  const read = async (name: string, range?: { start: number; end: number }): Promise<Buffer | undefined> => {
    const found = await store.get(key(name), range);
    return found && buffer(found.body);
  };

  it("gives back what was put, with its type and length", async () => {
    const body = randomBytes(300_000);
    await put("whole.png", body, "image/png");
    expect(await store.head(key("whole.png"))).toEqual({ bytes: 300_000, contentType: "image/png" });
    expect((await read("whole.png"))?.equals(body)).toBe(true);
    await put("empty.json", Buffer.alloc(0), "application/json");
    expect(await read("empty.json")).toEqual(Buffer.alloc(0));
  });

  it("takes streams", async () => {
    const parts = Array.from({ length: 20 }, () => randomBytes(70_000));
    await store.put(key("stream.bin"), Readable.from(parts), { bytes: 1_400_000, contentType: "application/octet-stream" });
    expect((await read("stream.bin"))?.equals(Buffer.concat(parts))).toBe(true);
  });

  it("gives ranges, inclusive at both ends", async () => {
    const body = randomBytes(1_000);
    await put("range.bin", body);
    for (const [start, end] of [
      [0, 0],
      [0, 999],
      [10, 19],
      [999, 999],
    ] as const) {
      expect(await read("range.bin", { start, end })).toEqual(body.subarray(start, end + 1));
    }
  });

  it("knows nothing of what was never put, or was deleted", async () => {
    expect(await store.head(key("none"))).toBeUndefined();
    expect(await store.get(key("none"))).toBeUndefined();
    await store.delete(key("none"));
    await put("gone", Buffer.from("x"));
    await store.delete(key("gone"));
    expect(await store.head(key("gone"))).toBeUndefined();
    expect(await store.get(key("gone"))).toBeUndefined();
  });

  it("the same bytes put many times at once are one whole object", async () => {
    const body = randomBytes(200_000);
    await Promise.all(Array.from({ length: 8 }, () => put("same.bin", body)));
    expect((await read("same.bin"))?.equals(body)).toBe(true);
  });

  it("a body that breaks in the middle leaves no object", async () => {
    async function* broken() {
      yield randomBytes(1_000);
      throw new Error("the engine went away");
    }
    await expect(store.put(key("broken.bin"), Readable.from(broken()), { bytes: 5_000, contentType: "image/png" })).rejects.toThrow();
    expect(await store.head(key("broken.bin"))).toBeUndefined();
  });

  it("refuses keys that are no plain paths", async () => {
    for (const bad of [
      "../escape",
      "a/../b",
      "/absolute",
      "a//b",
      "",
      ".hidden",
      "a/.b",
      "a b",
      "a\u0000b",
      "é",
      "a/",
      `${"x".repeat(600)}`,
    ]) {
      await expect(store.head(bad)).rejects.toMatchObject({ code: "file_unknown" });
      await expect(store.put(bad, Buffer.from("x"), { bytes: 1, contentType: "text/plain" })).rejects.toMatchObject({
        code: "file_unknown",
      });
    }
  });
});

describe("when the store is away", () => {
  it("S3: store_unavailable, naming it", async () => {
    await expect(
      createS3ObjectStore({ endpoint: "http://127.0.0.1:9", bucket: "x", region: "us-east-1", accessKey: "a", secretKey: "hidden-secret" }),
    ).rejects.toMatchObject({
      code: "store_unavailable",
      message: expect.stringMatching(/127\.0\.0\.1:9(?!.*hidden-secret).*S3_ENDPOINT/),
    });
  });

  it("files: store_unavailable when the folder cannot be used, and when the disk is full", async () => {
    const nowhere = createFileObjectStore({ folder: "/dev/null" });
    await expect(nowhere.put("a", Buffer.from("x"), { bytes: 1, contentType: "text/plain" })).rejects.toMatchObject({
      code: "store_unavailable",
      message: expect.stringMatching(/\/dev\/null.*TEMPERA_DATA/),
    });
    async function* noSpace() {
      yield Buffer.from("x");
      throw Object.assign(new Error("write failed"), { code: "ENOSPC" });
    }
    await expect(
      createFileObjectStore({ folder }).put("full", Readable.from(noSpace()), { bytes: 9, contentType: "text/plain" }),
    ).rejects.toMatchObject({ code: "store_unavailable", message: expect.stringMatching(/no space left.*TEMPERA_DATA/) });
  });
});
