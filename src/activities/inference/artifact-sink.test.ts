import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { describe, expect, it } from "vitest";
import type { ArtifactHead } from "../../core/engines/engine.ts";
import { storeFull } from "../../core/errors/store-failure.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { createNameArtifact } from "../../core/files/artifact.ts";
import { keptPrivate, type Lifecycle } from "../../core/files/lifecycle.ts";
import type { JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import { ArtifactSink, type ArtifactSinkOptions } from "./artifact-sink.ts";
import { ByteBudget } from "./byte-budget.ts";

const BYTES = Buffer.from("an image");
const SHA256 = createHash("sha256").update(BYTES).digest("hex");
const HEAD: ArtifactHead = {
  index: 0,
  contentType: "image/png",
  fileName: "a.png",
  bytes: BYTES.length,
  sha256: SHA256,
};
const NAMES = createNameArtifact(Buffer.alloc(32));
const NAME = NAMES("ann", SHA256);
const KEY = `artifacts/${NAME.slice(0, 2)}/${NAME}.png`;

async function* chunks(...parts: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* parts;
}

function createObjects() {
  const stored = new Map<string, { body: Buffer; info: object }>();
  return {
    stored,
    async put(key: string, body: Buffer | Readable, info: object) {
      stored.set(key, { body: Buffer.isBuffer(body) ? body : await buffer(body), info });
    },
    async delete(key: string) {
      stored.delete(key);
    },
  };
}

const sinkOn = (
  objects: Pick<ReturnType<typeof createObjects>, "put" | "delete">,
  inline = false,
  keptBytes = new ByteBudget(LIMITS.artifactsKeptBytesMax),
  counting: Partial<ArtifactSinkOptions["files"]> = {},
) =>
  new ArtifactSink({
    objects,
    keptBytes,
    outputBytesMax: 2 ** 30,
    files: {
      begin: unexpected,
      claim: unexpected,
      store: unexpected,
      countObject: async () => true,
      uncountObjects: async () => {},
      ...counting,
    },
    clock: { nowMs: () => 0 },
    nameArtifact: NAMES,
    filesUrl: "http://localhost:8080",
    job: { requestId: "019a1b2c-0000-7000-8000-000000000000", ownerId: "ann" },
    inline,
    log: { warn: () => {} },
  });
const unexpected = () => Promise.reject(new Error("a record was written for a file without a lifecycle"));

it("has another name for each owner: nobody finds out by the bytes what another one has", () => {
  const other = createNameArtifact(Buffer.alloc(32, 1));
  const names = [NAMES("ann", SHA256), NAMES("bob", SHA256), other("ann", SHA256), SHA256];
  expect(new Set(names).size).toBe(4);
  for (const name of names) expect(name).toMatch(/^[0-9a-f]{64}$/);
});

describe("a produced file", () => {
  it("is stored under its owner and its content before the output names it", async () => {
    const objects = createObjects();
    const sink = sinkOn(objects);
    await sink.store(HEAD, chunks(BYTES.subarray(0, 3), BYTES.subarray(3)));
    expect(objects.stored.get(KEY)).toEqual({
      body: BYTES,
      info: { bytes: BYTES.length, contentType: "image/png" },
    });
    expect(sink.resolve({ images: [{ $artifact: 0, width: 4, height: 2 }], seed: 7 })).toEqual({
      images: [
        {
          url: `http://localhost:8080/files/${KEY.slice("artifacts/".length)}`,
          content_type: "image/png",
          file_name: "a.png",
          file_size: 8,
          width: 4,
          height: 2,
        },
      ],
      seed: 7,
    });
  });

  it("is stored despite the wish for a data URI when it is too large for a response", async () => {
    const large = Buffer.alloc(LIMITS.inlineFileBytesMax + 1);
    const sha256 = createHash("sha256").update(large).digest("hex");
    const objects = createObjects();
    const sink = sinkOn(objects, true);
    await sink.store({ ...HEAD, bytes: large.length, sha256 }, chunks(large));
    expect(sink.resolve({ file: { $artifact: 0 } })).toMatchObject({
      file: { url: expect.stringContaining(`/files/${NAMES("ann", sha256).slice(0, 2)}/`) },
    });
    expect(objects.stored.size).toBe(1);
  });

  it("is a data URI and not stored when the caller wants it inline", async () => {
    const objects = createObjects();
    const sink = sinkOn(objects, true);
    await sink.store(HEAD, chunks(BYTES));
    expect(sink.resolve({ image: { $artifact: 0 } })).toMatchObject({
      image: { url: `data:image/png;base64,${BYTES.toString("base64")}` },
    });
    expect(objects.stored.size).toBe(0);
  });

  it.each<[string, Uint8Array[]]>([
    ["too few", [BYTES.subarray(1)]],
    ["too many", [BYTES, BYTES]],
    ["others", [Buffer.from("an imaga")]],
    ["none", []],
  ])("is refused and not stored when its bytes are %s than announced", async (_name, parts) => {
    for (const inline of [false, true]) {
      const objects = createObjects();
      await expect(sinkOn(objects, inline).store(HEAD, chunks(...parts))).rejects.toMatchObject({
        code: "runner_incomplete_response",
        message: expect.stringContaining("a.png"),
      });
      expect(objects.stored.size).toBe(0);
    }
  });

  it("is stored as .bin when its type has no known extension", async () => {
    const objects = createObjects();
    await sinkOn(objects).store({ ...HEAD, contentType: "application/x-unheard-of" }, chunks(BYTES));
    expect([...objects.stored.keys()][0]).toMatch(/\.bin$/);
  });
});

/** The record of one file: the claimed key, and the stored one. */
function createRecord() {
  let claimed: string | undefined;
  let stored: string | undefined;
  return {
    stored: () => stored,
    begin: async () => {},
    async claim(_fileId: string, key: string) {
      if (stored !== undefined) return undefined;
      const before = claimed;
      claimed = key;
      return { before };
    },
    async store(_fileId: string, key: string) {
      if (claimed !== key || stored !== undefined) return false;
      stored = key;
      return true;
    },
  };
}
const recordingSink = (
  objects: Pick<ReturnType<typeof createObjects>, "put" | "delete">,
  files: Partial<ReturnType<typeof createRecord>>,
  lifecycle: Lifecycle = { lifetimeSeconds: 60 },
) =>
  new ArtifactSink({
    objects,
    keptBytes: new ByteBudget(LIMITS.artifactsKeptBytesMax),
    outputBytesMax: 2 ** 30,
    files: {
      ...files,
      countObject: unexpected,
      uncountObjects: unexpected,
    } as ArtifactSinkOptions["files"],
    clock: { nowMs: () => 0 },
    nameArtifact: NAMES,
    filesUrl: "http://localhost:8080",
    job: {
      requestId: "019a1b2c-0000-7000-8000-000000000000",
      ownerId: "ann",
      lifecycle,
    },
    inline: false,
    log: { warn: () => {} },
  });

describe("a produced file with a lifecycle", () => {
  it("of a plan that keeps files private has an address that answers sign, which opens nothing", async () => {
    const sink = recordingSink(createObjects(), createRecord(), { ...keptPrivate({}), lifetimeSeconds: 60 });
    await sink.store(HEAD, chunks(BYTES));
    const { image } = sink.resolve({ image: { $artifact: 0 } }) as { image: { url: string } };
    expect(image.url).toMatch(/^http:\/\/localhost:8080\/files\/[0-9a-f]{32}\/a\.png\?identity=$/);
  });

  it("leaves one object when an earlier attempt was lost between the bytes and the record", async () => {
    const [objects, record] = [createObjects(), createRecord()];
    const lost = recordingSink(objects, {
      ...record,
      store: () => Promise.reject(new Error("the worker died")),
    });
    await expect(lost.store(HEAD, chunks(BYTES))).rejects.toThrow("the worker died");
    await recordingSink(objects, record).store(HEAD, chunks(BYTES));
    expect([...objects.stored.keys()]).toEqual([record.stored()]);
  });

  it("leaves one object when an abandoned attempt stores its bytes last", async () => {
    const [objects, record] = [createObjects(), createRecord()];
    let goOn = (): void => {};
    const held = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const slow = recordingSink(
      { ...objects, put: (key, body, info) => held.then(() => objects.put(key, body, info)) },
      record,
    ).store(HEAD, chunks(BYTES));
    await recordingSink(objects, record).store(HEAD, chunks(BYTES));
    goOn();
    await slow;
    expect([...objects.stored.keys()]).toEqual([record.stored()]);
  });
});

describe("a produced file without a lifecycle", () => {
  const budget = () => new ByteBudget(LIMITS.artifactsKeptBytesMax);

  it("is counted for its owner before it is stored", async () => {
    const objects = createObjects();
    const seen: unknown[] = [];
    const sink = sinkOn(objects, false, budget(), {
      countObject: async (artifact) => {
        seen.push(artifact, objects.stored.size);
        return true;
      },
    });
    await sink.store(HEAD, chunks(BYTES));
    expect(seen).toEqual([{ ownerId: "ann", objectKey: KEY, bytes: BYTES.length }, 0]);
  });

  it("is not stored when its owner has no room for it", async () => {
    const objects = createObjects();
    const sink = sinkOn(objects, false, budget(), {
      countObject: () => Promise.reject(new TemperaError("storage_limit")),
    });
    await expect(sink.store(HEAD, chunks(BYTES))).rejects.toMatchObject({ code: "storage_limit" });
    expect(objects.stored.size).toBe(0);
  });

  it.each([
    ["counts no more", true, [[KEY]]],
    ["of an earlier run goes on counting", false, []],
  ])("that cannot be stored %s", async (_, isNew, expected) => {
    const uncounted: string[][] = [];
    const broken = { ...createObjects(), put: () => Promise.reject(new Error("broken")) };
    const sink = sinkOn(broken, false, budget(), {
      countObject: async () => isNew,
      uncountObjects: async (keys) => void uncounted.push(keys),
    });
    await expect(sink.store(HEAD, chunks(BYTES))).rejects.toThrow("broken");
    expect(uncounted).toEqual(expected);
  });

  it("is stored uncounted while PostgreSQL is away: a result does not wait for that", async () => {
    const objects = createObjects();
    const sink = sinkOn(objects, false, budget(), {
      countObject: () =>
        Promise.reject(new TemperaError("store_unavailable", "away", { store: "PostgreSQL" })),
    });
    await sink.store(HEAD, chunks(BYTES));
    expect(objects.stored.size).toBe(1);
  });
});

it("a run produces a bounded number of files", async () => {
  const sink = sinkOn(createObjects());
  for (let index = 0; index < LIMITS.outputFilesMax; index++)
    await sink.store({ ...HEAD, index }, chunks(BYTES));
  await expect(sink.store({ ...HEAD, index: LIMITS.outputFilesMax }, chunks(BYTES))).rejects.toMatchObject({
    code: "output_too_large",
  });
});

describe("a produced file that the store does not take", () => {
  const FULL = storeFull("object store", "has no space left (ENOSPC)", "free some", undefined);
  /** Objects whose store is full until it is told otherwise. */
  function createFullObjects() {
    const objects = createObjects();
    const state = { full: true, puts: 0 };
    const put: typeof objects.put = async (...args) => {
      state.puts++;
      if (state.full) throw FULL;
      await objects.put(...args);
    };
    return { ...objects, put, state };
  }
  const once = (work: () => Promise<void>): Promise<void> => work();

  it("is kept and stored later, and the output names it", async () => {
    const objects = createFullObjects();
    const sink = sinkOn(objects);
    await sink.store(HEAD, chunks(BYTES));
    await expect(sink.storeKept(once)).rejects.toBe(FULL);
    objects.state.full = false;
    await sink.storeKept(once);
    expect(objects.stored.get(KEY)?.body).toEqual(BYTES);
    expect(sink.resolve({ image: { $artifact: 0 } })).toMatchObject({
      image: { url: `http://localhost:8080/files/${KEY.slice("artifacts/".length)}` },
    });
  });

  it("is kept with its record, and leaves one object", async () => {
    const [objects, record] = [createFullObjects(), createRecord()];
    const sink = recordingSink(objects, record);
    await sink.store(HEAD, chunks(BYTES));
    objects.state.full = false;
    await sink.storeKept(once);
    expect([...objects.stored.keys()]).toEqual([record.stored()]);
  });

  it.each<[string, (sink: ArtifactSink, state: { full: boolean }) => Promise<void>]>([
    [
      "stored",
      async (sink, state) => {
        state.full = false;
        await sink.storeKept(once);
        state.full = true;
      },
    ],
    ["given up", async (sink) => sink[Symbol.dispose]()],
  ])("fails at once while other runs keep all that the worker may, until they are %s", async (_, end) => {
    const objects = createFullObjects();
    const keptBytes = new ByteBudget(BYTES.length);
    const first = sinkOn(objects, false, keptBytes);
    await first.store(HEAD, chunks(BYTES));
    await expect(sinkOn(objects, false, keptBytes).store(HEAD, chunks(BYTES))).rejects.toBe(FULL);
    await end(first, objects.state);
    await sinkOn(objects, false, keptBytes).store(HEAD, chunks(BYTES));
  });

  it("takes no memory of other runs once it is stored, has failed or was given up", async () => {
    const keptBytes = new ByteBudget(BYTES.length);
    const objects = createFullObjects();
    const ended = sinkOn(objects, false, keptBytes);
    ended[Symbol.dispose]();
    await ended.store(HEAD, chunks(BYTES));
    await expect(sinkOn(objects, false, keptBytes).store(HEAD, chunks())).rejects.toThrow("a.png");
    await sinkOn(createObjects(), false, keptBytes).store(HEAD, chunks(BYTES));
    expect(keptBytes.take(BYTES.length)).toBe(true);
  });

  it("fails at once when it is too large to be kept, or when the fault is another one", async () => {
    const large = { ...HEAD, bytes: LIMITS.artifactsKeptBytesMax + 1 };
    const objects = createFullObjects();
    await expect(sinkOn(objects).store(large, chunks(BYTES))).rejects.toBe(FULL);
    const broken = { ...objects, put: () => Promise.reject(new Error("a bug")) };
    await expect(sinkOn(broken).store(HEAD, chunks(BYTES))).rejects.toThrow("a bug");
    expect(objects.state.puts).toBe(1);
  });
});

describe("an output", () => {
  it("is incomplete when it names a file that the engine never sent", () =>
    expect(() => sinkOn(createObjects()).resolve({ image: { $artifact: 3 } })).toThrow(
      expect.objectContaining({ code: "runner_incomplete_response" }),
    ));

  it("passes through without changes when it has no files, odd names and null included", () => {
    const output = JSON.parse(
      '{"a":[null,1,"x",{"b":true}],"$artifact":"text","__proto__":{"polluted":1}}',
    ) as JsonObject;
    const resolved = sinkOn(createObjects()).resolve(output);
    expect(JSON.stringify(resolved)).toBe(JSON.stringify(output));
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });
});
