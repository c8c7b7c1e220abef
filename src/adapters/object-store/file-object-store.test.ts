import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createFileObjectStore } from "./file-object-store.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-file-objects-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const KEY = "files/ab/one-1111";

/** Begins to put an object in a process of its own, and kills that in the middle. */
async function putAndDie(): Promise<void> {
  const store = fileURLToPath(new URL("./file-object-store.ts", import.meta.url));
  const code = `
    import { Readable } from "node:stream";
    import { createFileObjectStore } from ${JSON.stringify(store)};
    const body = async function* () { for (;;) { yield Buffer.alloc(65536); process.stdout.write("."); await new Promise((r) => setTimeout(r, 5)); } };
    await createFileObjectStore({ folder: ${JSON.stringify(folder)} }).put(${JSON.stringify(KEY)}, Readable.from(body()), { bytes: 2 ** 40, contentType: "a/b" });`;
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

it("deletes what a killed writer left of an object, and nothing beside it", async () => {
  await putAndDie();
  const place = join(folder, dirname(KEY));
  expect(await readdir(place)).toEqual([expect.stringMatching(/^one-1111@[0-9a-f-]{36}$/)]);
  const store = createFileObjectStore({ folder });
  const info = { bytes: 1, contentType: "a/b" };
  await store.put(`${KEY}1`, Buffer.from("x"), info);
  const uploadId = await store.beginParts(KEY, "a/b");
  await store.delete(KEY);
  expect((await readdir(place)).sort()).toEqual([
    "one-11111",
    "one-11111@info",
    `one-1111@parts-${uploadId}`,
  ]);
  await store.put(KEY, Buffer.from("y"), info);
  await store.delete(KEY);
  expect(await store.head(KEY)).toBeUndefined();
  expect((await readdir(place)).sort()).toEqual([
    "one-11111",
    "one-11111@info",
    `one-1111@parts-${uploadId}`,
  ]);
  await store.delete("files/none/x");
});

it("does not know an object whose bytes somebody removed by hand, until it is put again", async () => {
  const store = createFileObjectStore({ folder });
  const info = { bytes: 1, contentType: "a/b" };
  await store.put(KEY, Buffer.from("x"), info);
  await rm(join(folder, KEY));
  expect(await store.head(KEY)).toBeUndefined();
  expect(await store.get(KEY)).toBeUndefined();
  await store.put(KEY, Buffer.from("x"), info);
  expect(await store.head(KEY)).toEqual(info);
});

it("joins the parts of an upload for each of those who ask for it at once, wherever the first of them is", async () => {
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
    for (let turns = 0; turns < 10; turns++) await turn();
  }
  expect((await Promise.allSettled(joining)).filter(({ status }) => status === "rejected")).toEqual([]);
  expect(await store.head(KEY)).toEqual(info);
  await expect(store.completeParts(upload, parts, { ...info, bytes: 1 })).rejects.toMatchObject({
    code: "upload_unknown",
  });
});
