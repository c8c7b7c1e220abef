import { randomBytes, randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createFileObjectStore } from "../../../src/adapters/object-store/file-object-store.ts";
import { createS3ObjectStore } from "../../../src/adapters/object-store/s3-object-store.ts";
import type { ObjectStore } from "../../../src/core/files/object-store.ts";
import { startMinio } from "../../../src/dev/services/minio.ts";
import { leakCheck } from "../../setup/leak-check.ts";

leakCheck();

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

  it("returns an object with its type and length", async () => {
    const body = randomBytes(300_000);
    await put("whole.png", body, "image/png");
    expect(await store.head(key("whole.png"))).toEqual({ bytes: 300_000, contentType: "image/png" });
    expect((await read("whole.png"))?.equals(body)).toBe(true);
    await put("empty.json", Buffer.alloc(0), "application/json");
    expect(await read("empty.json")).toEqual(Buffer.alloc(0));
  });

  it("accepts streams", async () => {
    const parts = Array.from({ length: 20 }, () => randomBytes(70_000));
    await store.put(key("stream.bin"), Readable.from(parts), {
      bytes: 1_400_000,
      contentType: "application/octet-stream",
    });
    expect((await read("stream.bin"))?.equals(Buffer.concat(parts))).toBe(true);
  });

  it("returns ranges, inclusive at both ends", async () => {
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

  it("lists a folder, and nothing beside it, by rising key in pages, with sizes and times", async () => {
    const names = ["list/a-b", "list/a/c", "list/a/d/e.json", "list/a.b", "list/b", "list/Z9", "list/a0"];
    const beforeMs = Date.now();
    for (const name of names) await put(name, Buffer.from(name));
    await put("listed", Buffer.from("x"));
    const expected = names.map(key).sort();
    const seen: string[] = [];
    for (let after: string | undefined; ; ) {
      const page = await store.list(key("list/"), after, 3);
      expect(page.length).toBeLessThanOrEqual(3);
      if (page.length === 0) break;
      for (const { key: name, bytes, modifiedAtMs } of page) {
        seen.push(name);
        expect(bytes).toBe(name.length - key("").length);
        // S3 tells whole seconds.
        expect(modifiedAtMs).toBeGreaterThanOrEqual(beforeMs - 2_000);
        expect(modifiedAtMs).toBeLessThanOrEqual(Date.now() + 2_000);
      }
      after = page.at(-1)?.key;
    }
    expect(seen).toEqual(expected);
    expect((await store.list(key("list/a/"), undefined, 10)).map(({ key: name }) => name)).toEqual([
      key("list/a/c"),
      key("list/a/d/e.json"),
    ]);
    expect(await store.list(key("nothing/"), undefined, 10)).toEqual([]);
    for (const folder of ["list", "", "/", "../", "a//", "a/../"])
      await expect(store.list(folder, undefined, 1)).rejects.toThrow();
  });

  it("finds no object that was never put, or was deleted", async () => {
    expect(await store.head(key("none"))).toBeUndefined();
    expect(await store.get(key("none"))).toBeUndefined();
    await store.delete(key("none"));
    await put("gone", Buffer.from("x"));
    await store.delete(key("gone"));
    expect(await store.head(key("gone"))).toBeUndefined();
    expect(await store.get(key("gone"))).toBeUndefined();
  });

  it("stores one complete object for many concurrent puts of the same bytes", async () => {
    const body = randomBytes(200_000);
    await Promise.all(Array.from({ length: 8 }, () => put("same.bin", body)));
    expect((await read("same.bin"))?.equals(body)).toBe(true);
  });

  it("stores nothing for a body that fails in the middle", async () => {
    async function* broken() {
      yield randomBytes(1_000);
      throw new Error("the engine went away");
    }
    await expect(
      store.put(key("broken.bin"), Readable.from(broken()), { bytes: 5_000, contentType: "image/png" }),
    ).rejects.toThrow();
    expect(await store.head(key("broken.bin"))).toBeUndefined();
  });

  it("stores nothing for a body that is longer or shorter than announced, or stalls", async () => {
    for (const bytes of [9, 11]) {
      const whole = store.put(key("length.bin"), Buffer.alloc(10), { bytes, contentType: "image/png" });
      await expect(whole).rejects.toMatchObject({ code: "internal_error" });
      const parts = store.put(key("length.bin"), Readable.from([Buffer.alloc(5), Buffer.alloc(5)]), {
        bytes,
        contentType: "image/png",
      });
      await expect(parts).rejects.toMatchObject({ code: "internal_error" });
    }
    const stops = new Readable({ read() {} });
    stops.push(Buffer.alloc(5));
    const put = store.put(key("length.bin"), stops, { bytes: 10, contentType: "image/png" });
    setTimeout(() => stops.destroy(), 20);
    await expect(put).rejects.toThrow();
    expect(await store.head(key("length.bin"))).toBeUndefined();
  });

  it("passes the error of a body through, and does not blame the store", async () => {
    const reset = Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" });
    const body = Readable.from(
      (async function* () {
        yield Buffer.alloc(5);
        throw reset;
      })(),
    );
    await expect(store.put(key("reset.bin"), body, { bytes: 10, contentType: "image/png" })).rejects.toBe(
      reset,
    );
  });

  it("refuses ranges outside the object", async () => {
    await put("small.bin", Buffer.from("12345"));
    await put("nothing.bin", Buffer.alloc(0));
    for (const [name, start, end] of [
      ["small.bin", 0, 5],
      ["small.bin", 5, 5],
      ["small.bin", 3, 2],
      ["small.bin", -1, 2],
      ["nothing.bin", 0, 0],
    ] as const) {
      await expect(store.get(key(name), { start, end })).rejects.toMatchObject({
        code: "range_unsatisfiable",
      });
    }
  });

  it("separates objects with similar names", async () => {
    const names = ["pair", "pair.info", "pair.json", "pair-1", "deep/pair"];
    for (const name of names) await put(name, Buffer.from(name), `text/${name.replace(/\W/g, "")}`);
    for (const name of names) {
      expect((await read(name))?.toString()).toBe(name);
      expect(await store.head(key(name))).toEqual({
        bytes: name.length,
        contentType: `text/${name.replace(/\W/g, "")}`,
      });
    }
    expect(await store.head(key("deep"))).toBeUndefined();
    expect(await store.get(key("pair/below"))).toBeUndefined();
    await store.delete(key("pair"));
    expect((await read("pair.info"))?.toString()).toBe("pair.info");
  });

  it("reads an object to its end when it is deleted meanwhile", async () => {
    const body = randomBytes(500_000);
    await put("vanishing.bin", body);
    const found = await store.get(key("vanishing.bin"));
    await store.delete(key("vanishing.bin"));
    expect(found && (await buffer(found.body)).equals(body)).toBe(true);
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
      "..",
      "a/..",
      "a\\b",
      "%2e%2e/a",
      "a@info",
      "x".repeat(600),
      "x".repeat(201),
    ]) {
      await expect(store.head(bad)).rejects.toMatchObject({ code: "file_unknown" });
      await expect(store.get(bad)).rejects.toMatchObject({ code: "file_unknown" });
      await expect(store.delete(bad)).rejects.toMatchObject({ code: "file_unknown" });
      await expect(
        store.put(bad, Buffer.from("x"), { bytes: 1, contentType: "text/plain" }),
      ).rejects.toMatchObject({
        code: "file_unknown",
      });
    }
  });
});

describe("when the store is away", () => {
  it("S3: rejects with store_unavailable and names the store", async () => {
    await expect(
      createS3ObjectStore({
        endpoint: "http://127.0.0.1:9",
        bucket: "x",
        region: "us-east-1",
        accessKey: "a",
        secretKey: "hidden-secret",
      }),
    ).rejects.toMatchObject({
      code: "store_unavailable",
      message: expect.stringMatching(/127\.0\.0\.1:9(?!.*hidden-secret).*S3_ENDPOINT/),
    });
  });

  it("S3, killed: rejects every call at once, and has lost nothing when it is back", async () => {
    const minioFolder = join(folder, "minio");
    const minio = await startMinio({ folder: minioFolder, log: () => {} });
    const { url: endpoint, accessKey, secretKey, port } = minio;
    const store = await createS3ObjectStore({
      endpoint,
      accessKey,
      secretKey,
      bucket: "outage",
      region: "us-east-1",
    });
    const info = { bytes: 1_000_000, contentType: "image/png" };
    const body = randomBytes(info.bytes);
    await store.put("kept", body, info);
    minio.kill();
    await minio.ended;
    const stream = Readable.from([body]);
    const calls = [
      store.head("kept"),
      store.get("kept"),
      store.put("b", body, info),
      store.put("c", stream, info),
      store.delete("kept"),
    ];
    for (const call of await Promise.allSettled(calls)) {
      expect(call).toMatchObject({
        reason: { code: "store_unavailable", message: expect.stringContaining(`127.0.0.1:${port}`) },
      });
    }
    await using _again = await startMinio({ folder: minioFolder, port, log: () => {} });
    const found = await store.get("kept");
    expect(found && (await buffer(found.body)).equals(body)).toBe(true);
    expect(await store.head("b")).toBeUndefined();
  });

  it("files: rejects with store_unavailable for an unusable folder, store_full for a full disk", async () => {
    const nowhere = createFileObjectStore({ folder: "/dev/null" });
    await expect(
      nowhere.put("a", Buffer.from("x"), { bytes: 1, contentType: "text/plain" }),
    ).rejects.toMatchObject({
      code: "store_unavailable",
      message: expect.stringMatching(/\/dev\/null.*TEMPERA_DATA/),
    });
    for (const code of ["ENOSPC", "EDQUOT", "EROFS"]) {
      async function* refused() {
        yield Buffer.from("x");
        throw Object.assign(new Error("write failed"), { code });
      }
      const full = createFileObjectStore({ folder }).put("full", Readable.from(refused()), {
        bytes: 9,
        contentType: "text/plain",
      });
      await expect(full).rejects.toMatchObject({
        code: "store_full",
        message: expect.stringMatching(new RegExp(`^The object store .*\\(${code}\\).*TEMPERA_DATA`)),
      });
    }
  });
});
