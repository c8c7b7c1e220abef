import { setMaxListeners } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { withAbort } from "../../../core/concurrency/with-abort.ts";
import type { Entity } from "../../../core/operations/guarded-http.ts";
import { LoraCache, type LoraSource } from "./lora-cache.ts";
import { safetensors } from "./safetensors.fixture.ts";

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
function source(name: string, options: Partial<LoraSource> & { digest?: string; entity?: Entity } = {}) {
  const { digest = name, entity, ...rest } = options;
  const counted = { fetches: 0, kept: [] as (Entity | undefined)[] };
  const fetch: LoraSource["fetch"] = async (path, known) => {
    counted.fetches++;
    counted.kept.push(known);
    if (known !== undefined && known === entity) return "unchanged";
    await writeFile(path, WEIGHTS);
    const file = { path, contentType: "", bytes: WEIGHTS.length, sha256: digest };
    return { file, ...(entity && { entity }) };
  };
  return Object.assign(counted, { name, isImmutable: false, fetch, ...rest });
}
let files = 0;
const provide = (from: LoraSource, signal = NEVER) =>
  cache.provide(from, join(folder, String(files++)), signal);
/** The digests of the kept files. */
const kept = async () =>
  (await readdir(join(folder, "kept"))).map((name) => name.replace(/-[0-9a-f-]{36}$/, ""));

describe("a cache of LoRA weights", () => {
  it("fetches for thirty requests at once, and gives each a file of its own", async () => {
    const a = source("a");
    const provided = await Promise.all(Array.from({ length: 30 }, () => provide(a)));
    expect(a.fetches).toBe(1);
    expect(new Set(provided.map(({ path }) => path)).size).toBe(30);
    for (const { path } of provided) expect(await readFile(path)).toEqual(WEIGHTS);
  });

  it("fetches what may change again, unless its source says that it has not", async () => {
    const entity = { etag: '"1"', from: "https://a.example/a" };
    const [tagged, untagged, fixed] = [
      source("tagged", { entity }),
      source("untagged"),
      source("fixed", { isImmutable: true }),
    ];
    for (const each of [tagged, untagged, fixed]) for (let i = 0; i < 2; i++) await provide(each);
    expect(tagged.kept).toEqual([undefined, entity]);
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

  it("fetches again what was deleted behind its back, also by another name of the same weights", async () => {
    const first = source("first", { digest: "equal", isImmutable: true });
    await provide(first);
    await rm(join(folder, "kept"), { recursive: true });
    expect(await readFile((await provide(first)).path)).toEqual(WEIGHTS);
    await rm(join(folder, "kept"), { recursive: true });
    const other = source("other", { digest: "equal" });
    expect(await readFile((await provide(other)).path)).toEqual(WEIGHTS);
  });

  it("survives that weights are evicted and fetched at once", async () => {
    const [popular, large] = [
      (n: number) => source(`popular?${n}`, { digest: "popular" }),
      (n: number) => source(`large-${n}`),
    ];
    for (let i = 0; i < 40; i++)
      await Promise.all([
        provide(popular(i)),
        provide(large(i)),
        provide(popular(i + 1)),
        provide(large(-i)),
      ]);
    expect(await readFile((await provide(popular(0))).path)).toEqual(WEIGHTS);
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
