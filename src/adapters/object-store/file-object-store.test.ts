import { spawn } from "node:child_process";
import { once } from "node:events";
import { lstat, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setImmediate as nextIteration } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createFileObjectStore } from "./file-object-store.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-file-objects-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const KEY = "files/ab/one-1111";

/** Begins to put an object in another process, and kills that process in the middle. */
async function putAndDie(): Promise<void> {
  const store = fileURLToPath(new URL("./file-object-store.ts", import.meta.url));
  const code = `
    import { Readable } from "node:stream";
    import { createFileObjectStore } from ${JSON.stringify(store)};
    const body = async function* () {
      for (;;) {
        yield Buffer.alloc(65536);
        process.stdout.write(".");
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    const info = { bytes: 2 ** 40, contentType: "a/b" };
    const store = createFileObjectStore({ folder: ${JSON.stringify(folder)} });
    await store.put(${JSON.stringify(KEY)}, Readable.from(body()), info);`;
  const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", code], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  let sent = 0;
  for await (const dots of child.stdout) {
    sent += dots.length;
    if (sent > 3) child.kill("SIGKILL");
  }
  await ended;
}

it("deletes the temporary files of a killed writer with their object, and nothing beside it", async () => {
  await putAndDie();
  const parent = join(folder, dirname(KEY));
  expect(await readdir(parent)).toEqual([expect.stringMatching(/^one-1111@[0-9a-f-]{36}$/)]);
  const store = createFileObjectStore({ folder });
  const info = { bytes: 1, contentType: "a/b" };
  await store.put(`${KEY}1`, Buffer.from("x"), info);
  const uploadId = await store.beginParts(KEY, "a/b");
  await store.delete(KEY);
  expect((await readdir(parent)).sort()).toEqual([
    "one-11111",
    "one-11111@info",
    `one-1111@parts-${uploadId}`,
  ]);
  await store.put(KEY, Buffer.from("y"), info);
  await store.delete(KEY);
  expect(await store.head(KEY)).toBeUndefined();
  expect((await readdir(parent)).sort()).toEqual([
    "one-11111",
    "one-11111@info",
    `one-1111@parts-${uploadId}`,
  ]);
  await store.delete("files/none/x");
});

it("treats an object as missing when its bytes were removed by hand, until it is put again", async () => {
  const store = createFileObjectStore({ folder });
  const info = { bytes: 1, contentType: "a/b" };
  await store.put(KEY, Buffer.from("x"), info);
  await rm(join(folder, KEY));
  expect(await store.head(KEY)).toBeUndefined();
  expect(await store.get(KEY)).toBeUndefined();
  await store.put(KEY, Buffer.from("x"), info);
  expect(await store.head(KEY)).toEqual(info);
});

it("completes an upload for concurrent callers at any point of the first one's work", async () => {
  const store = createFileObjectStore({ folder });
  const upload = { key: KEY, uploadId: await store.beginParts(KEY, "a/b") };
  const bytes = 256 * 1024;
  const parts = [];
  for (let number = 1; number <= 20; number++)
    parts.push({
      number,
      bytes,
      etag: await store.putPart(upload, number, Buffer.alloc(bytes, number), bytes),
    });
  const info = { bytes: bytes * parts.length, contentType: "a/b" };
  const joining: Promise<void>[] = [];
  for (let caller = 0; caller < 20; caller++) {
    joining.push(store.completeParts(upload, parts, info));
    for (let i = 0; i < 10; i++) await nextIteration();
  }
  expect((await Promise.allSettled(joining)).filter(({ status }) => status === "rejected")).toEqual([]);
  expect(await store.head(KEY)).toEqual(info);
  await expect(store.completeParts(upload, parts, { ...info, bytes: 1 })).rejects.toMatchObject({
    code: "upload_unknown",
  });
});

it("keeps files and uploads that no other user of this machine can read", async () => {
  const store = createFileObjectStore({ folder });
  const body = Buffer.from("a caller's bytes");
  const bytes = body.length;
  await store.put(KEY, body, { bytes, contentType: "text/plain" });
  const upload = { key: "uploads/c", uploadId: await store.beginParts("uploads/c", "text/plain") };
  await store.putPart(upload, 1, body, bytes);

  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  expect(entries.filter((entry) => entry.isFile())).toHaveLength(3);
  for (const { parentPath, name } of entries) {
    const { mode } = await lstat(join(parentPath, name));
    expect([name, mode & 0o077]).toEqual([name, 0]);
  }
});
