import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { WeightFile } from "../../../core/models/published-version.ts";
import { openWeightsCache } from "./weights-cache.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-weights-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const CONTENT: Record<string, string> = { "weights/1": "one", "weights/2": "two".repeat(50_000) };
const file = (path: string, objectKey: string): WeightFile => ({
  path,
  objectKey,
  bytes: CONTENT[objectKey]?.length ?? 0,
  sha256: createHash("sha256")
    .update(CONTENT[objectKey] ?? "")
    .digest("hex"),
});
const FILES = [file("a.onnx", "weights/1"), file("unet/model.onnx", "weights/2")];
const NEVER = new AbortController().signal;

/** An object store that holds `content` and records reads. */
function store(content: Record<string, string> = CONTENT) {
  const gets: string[] = [];
  return {
    gets,
    get: async (key: string) => {
      gets.push(key);
      const text = content[key];
      return text === undefined
        ? undefined
        : {
            info: { bytes: text.length, contentType: "" },
            body: Readable.from([Buffer.from(text)], { objectMode: false }),
          };
    },
  };
}

it("fetches a model's files once for concurrent callers, and not again in a later process", async () => {
  const objects = store();
  const cache = await openWeightsCache({ folder, objects });
  const [fetched] = await Promise.all([cache.ensure("d1", FILES, NEVER), cache.ensure("d1", FILES, NEVER)]);
  expect(await readFile(join(fetched as string, "unet/model.onnx"), "utf8")).toBe(CONTENT["weights/2"]);
  expect(objects.gets.sort()).toEqual(["weights/1", "weights/2"]);
  const later = await openWeightsCache({ folder, objects });
  expect(await later.ensure("d1", FILES, NEVER)).toBe(fetched);
  expect(objects.gets).toHaveLength(2);
});

it("fetches files again when a byte of what an earlier process left differs", async () => {
  const objects = store();
  const fetched = await (await openWeightsCache({ folder, objects })).ensure("d1", FILES, NEVER);
  await writeFile(join(fetched, "a.onnx"), "onE");
  await (await openWeightsCache({ folder, objects })).ensure("d1", FILES, NEVER);
  expect(await readFile(join(fetched, "a.onnx"), "utf8")).toBe("one");
});

it.each([
  ["other bytes", { "weights/1": "onE" }, /a\.onnx: the object store gave/],
  ["no bytes", {}, /a\.onnx: its bytes are no longer in the object store/],
])("leaves nothing when the store has %s", async (_, change, message) => {
  const content: Record<string, string> = { "weights/2": CONTENT["weights/2"] as string, ...change };
  const cache = await openWeightsCache({ folder, objects: store(content) });
  await expect(cache.ensure("d1", FILES, NEVER)).rejects.toThrow(message);
  expect(await readdir(folder)).toEqual([]);
});

it("leaves nothing when it is aborted half-way", async () => {
  const stop = new AbortController();
  const objects = {
    get: async () => ({
      info: { bytes: 1, contentType: "" },
      body: Readable.from(
        (async function* () {
          yield Buffer.from("o");
          stop.abort();
          await new Promise(() => {});
        })(),
        { objectMode: false },
      ),
    }),
  };
  const cache = await openWeightsCache({ folder, objects });
  await expect(cache.ensure("d1", FILES, stop.signal)).rejects.toThrow();
  expect(await readdir(folder)).toEqual([]);
});

it("fetches a model again after it was dropped", async () => {
  const objects = store();
  const cache = await openWeightsCache({ folder, objects });
  await cache.ensure("d1", FILES, NEVER);
  await cache.drop("d1");
  expect(await readdir(folder)).toEqual([]);
  await cache.ensure("d1", FILES, NEVER);
  expect(objects.gets).toHaveLength(4);
});

it("names this worker's disk when it is full, and leaves nothing there", async () => {
  const objects = store();
  const get = async (key: string) => {
    const [partial = ""] = await readdir(folder);
    // Whatever is written to this device fails with ENOSPC.
    if (key === "weights/1") await symlink("/dev/full", join(folder, partial, "a.onnx"));
    return objects.get(key);
  };
  const cache = await openWeightsCache({ folder, objects: { get } });
  await expect(cache.ensure("d1", FILES, NEVER)).rejects.toMatchObject({
    code: "store_full",
    store: "GPU worker's disk",
    message: expect.stringMatching(
      /^The GPU worker's disk has no space left \(ENOSPC\); free space for .+\.$/,
    ),
  });
  expect(await readdir(folder)).toEqual([]);
});
