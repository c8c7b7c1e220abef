import { setMaxListeners } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { withAbort } from "../../../core/concurrency/with-abort.ts";
import { LoraCache, type LoraSource } from "./lora-cache.ts";
import { safetensors } from "./safetensors-file.ts";

const { signal: NEVER } = new AbortController();
setMaxListeners(0, NEVER);
const WEIGHTS = safetensors({ a: 400 });

let folder: string;
let cache: LoraCache;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-loras-"));
  cache = new LoraCache({ folder: join(folder, "kept"), bytesMax: 1_000 });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** A source that counts its fetches; `digest` stands for the content. */
function source(name: string, options: Partial<LoraSource> & { digest?: string; etag?: string } = {}) {
  const { digest = name, etag, ...rest } = options;
  const counted = { fetches: 0, etags: [] as (string | undefined)[] };
  const fetch: LoraSource["fetch"] = async (path, known) => {
    counted.fetches++;
    counted.etags.push(known);
    if (known !== undefined && known === etag) return "unchanged";
    await writeFile(path, WEIGHTS);
    const file = { path, contentType: "", bytes: WEIGHTS.length, sha256: digest };
    return { file, ...(etag !== undefined && { etag }) };
  };
  return Object.assign(counted, { name, isImmutable: false, fetch, ...rest });
}
let files = 0;
const provide = (from: LoraSource, signal = NEVER) =>
  cache.provide(from, join(folder, String(files++)), signal);
const kept = () => readdir(join(folder, "kept"));

describe("a cache of LoRA weights", () => {
  it("fetches for thirty requests at once, and gives each a file of its own", async () => {
    const a = source("a");
    const provided = await Promise.all(Array.from({ length: 30 }, () => provide(a)));
    expect(a.fetches).toBe(1);
    expect(new Set(provided.map(({ path }) => path)).size).toBe(30);
    for (const { path } of provided) expect(await readFile(path)).toEqual(WEIGHTS);
  });

  it("fetches what may change again, unless its source says that it has not", async () => {
    const [tagged, untagged, fixed] = [
      source("tagged", { etag: '"1"' }),
      source("untagged"),
      source("fixed", { isImmutable: true }),
    ];
    for (const each of [tagged, untagged, fixed]) for (let i = 0; i < 2; i++) await provide(each);
    expect(tagged.etags).toEqual([undefined, '"1"']);
    expect([untagged.fetches, fixed.fetches]).toEqual([2, 1]);
  });

  it("keeps equal weights of two sources once, and deletes the least recently used", async () => {
    const first = source("first", { digest: "equal", isImmutable: true });
    const file = await provide(first);
    await provide(source("second", { digest: "equal" }));
    expect(await kept()).toEqual(["equal"]);
    await provide(source("third"));
    await provide(first);
    await provide(source("fourth"));
    await expect.poll(async () => (await kept()).sort()).toEqual(["equal", "fourth"]);
    await provide(source("fifth"));
    await expect.poll(async () => (await kept()).sort()).toEqual(["fifth", "fourth"]);
    // A running request keeps its file.
    expect(await readFile(file.path)).toEqual(WEIGHTS);
    await provide(first);
    expect(first.fetches).toBe(2);
  });

  it("goes on fetching for the others when one gives up, and stops for none", async () => {
    let isAborted = false;
    let release = (): void => {};
    const released = new Promise<void>((done) => {
      release = done;
    });
    const slow = source("slow", {
      fetch: async (path, _etag, signal) => {
        signal.addEventListener("abort", () => {
          isAborted = true;
        });
        await withAbort(released, signal);
        await writeFile(path, WEIGHTS);
        return { file: { path, contentType: "", bytes: WEIGHTS.length, sha256: "slow" } };
      },
    });
    const [one, two] = [new AbortController(), new AbortController()];
    const [first, second] = [provide(slow, one.signal), provide(slow, two.signal)];
    one.abort(new Error("gave up"));
    await expect(first).rejects.toThrow("gave up");
    expect(isAborted).toBe(false);
    release();
    await second;
    const never = new Promise<never>(() => {});
    const alone = provide(
      source("stuck", {
        fetch: async (_path, _etag, signal) => {
          signal.addEventListener("abort", () => {
            isAborted = true;
          });
          return withAbort(never, signal);
        },
      }),
      two.signal,
    );
    two.abort(new Error("gave up too"));
    await expect(alone).rejects.toThrow("gave up too");
    await expect.poll(() => isAborted).toBe(true);
    await expect.poll(kept).toEqual(["slow"]);
  });
});
