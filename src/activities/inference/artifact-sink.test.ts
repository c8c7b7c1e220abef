import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { describe, expect, it } from "vitest";
import type { ArtifactHead } from "../../core/engines/engine.ts";
import type { JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import { createArtifactSink } from "./artifact-sink.ts";

const BYTES = Buffer.from("a picture");
const SHA256 = createHash("sha256").update(BYTES).digest("hex");
const HEAD: ArtifactHead = {
  index: 0,
  contentType: "image/png",
  fileName: "a.png",
  bytes: BYTES.length,
  sha256: SHA256,
};
const KEY = `artifacts/${SHA256.slice(0, 2)}/${SHA256}.png`;

async function* chunks(...parts: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* parts;
}

function createShelf() {
  const stored = new Map<string, { body: Buffer; info: object }>();
  return {
    stored,
    async put(key: string, body: Buffer | Readable, info: object) {
      stored.set(key, { body: await buffer(body as Readable), info });
    },
    async delete(key: string) {
      stored.delete(key);
    },
  };
}

const sinkOn = (objects: ReturnType<typeof createShelf>, inline = false) =>
  createArtifactSink({
    objects,
    files: { begin: unexpected, claim: unexpected, store: unexpected },
    clock: { nowMs: () => 0 },
    publicUrl: "http://localhost:8080",
    job: { requestId: "019a1b2c-0000-7000-8000-000000000000", ownerId: "ann" },
    inline,
    warn: () => {},
  });
const unexpected = () => Promise.reject(new Error("a record was written for a file without a lifecycle"));

describe("a produced file", () => {
  it("is stored under its content before the output names it", async () => {
    const shelf = createShelf();
    const sink = sinkOn(shelf);
    await sink.take(HEAD, chunks(BYTES.subarray(0, 3), BYTES.subarray(3)));
    expect(shelf.stored.get(KEY)).toEqual({
      body: BYTES,
      info: { bytes: BYTES.length, contentType: "image/png" },
    });
    expect(sink.resolve({ images: [{ $artifact: 0, width: 4, height: 2 }], seed: 7 })).toEqual({
      images: [
        {
          url: `http://localhost:8080/files/${KEY.slice("artifacts/".length)}`,
          content_type: "image/png",
          file_name: "a.png",
          file_size: 9,
          width: 4,
          height: 2,
        },
      ],
      seed: 7,
    });
  });

  it("is stored although it is wanted inline when it is too large for an answer", async () => {
    const large = Buffer.alloc(LIMITS.inlineFileBytesMax + 1);
    const sha256 = createHash("sha256").update(large).digest("hex");
    const shelf = createShelf();
    const sink = sinkOn(shelf, true);
    await sink.take({ ...HEAD, bytes: large.length, sha256 }, chunks(large));
    expect(sink.resolve({ file: { $artifact: 0 } })).toMatchObject({
      file: { url: expect.stringContaining(`/files/${sha256.slice(0, 2)}/`) },
    });
    expect(shelf.stored.size).toBe(1);
  });

  it("is a data URI and stored nowhere when it is wanted inline", async () => {
    const shelf = createShelf();
    const sink = sinkOn(shelf, true);
    await sink.take(HEAD, chunks(BYTES));
    expect(sink.resolve({ image: { $artifact: 0 } })).toMatchObject({
      image: { url: `data:image/png;base64,${BYTES.toString("base64")}` },
    });
    expect(shelf.stored.size).toBe(0);
  });

  it.each<[string, Uint8Array[]]>([
    ["too few", [BYTES.subarray(1)]],
    ["too many", [BYTES, BYTES]],
    ["others", [Buffer.from("a pictura")]],
    ["none", []],
  ])("whose bytes are %s than announced is refused, and not stored", async (_name, parts) => {
    for (const inline of [false, true]) {
      const shelf = createShelf();
      await expect(sinkOn(shelf, inline).take(HEAD, chunks(...parts))).rejects.toMatchObject({
        code: "runner_incomplete_response",
        message: expect.stringContaining("a.png"),
      });
      expect(shelf.stored.size).toBe(0);
    }
  });

  it("of a type without a known extension is stored as bytes", async () => {
    const shelf = createShelf();
    await sinkOn(shelf).take({ ...HEAD, contentType: "application/x-unheard-of" }, chunks(BYTES));
    expect([...shelf.stored.keys()][0]).toMatch(/\.bin$/);
  });
});

describe("a produced file with a lifecycle", () => {
  /** One record: who may put its bytes where, and where they are. */
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
  const keeping = (
    objects: ReturnType<typeof createShelf>,
    files: Partial<ReturnType<typeof createRecord>>,
  ) =>
    createArtifactSink({
      objects,
      files: files as ReturnType<typeof createRecord>,
      clock: { nowMs: () => 0 },
      publicUrl: "http://localhost:8080",
      job: {
        requestId: "019a1b2c-0000-7000-8000-000000000000",
        ownerId: "ann",
        lifecycle: { lifetimeSeconds: 60 },
      },
      inline: false,
      warn: () => {},
    });

  it("leaves one object behind when the attempt before was lost between its bytes and its record", async () => {
    const [shelf, record] = [createShelf(), createRecord()];
    const lost = keeping(shelf, { ...record, store: () => Promise.reject(new Error("the worker died")) });
    await expect(lost.take(HEAD, chunks(BYTES))).rejects.toThrow("the worker died");
    await keeping(shelf, record).take(HEAD, chunks(BYTES));
    expect([...shelf.stored.keys()]).toEqual([record.stored()]);
  });

  it("leaves one object behind when an attempt that was given up puts its bytes last", async () => {
    const [shelf, record] = [createShelf(), createRecord()];
    let goOn = (): void => {};
    const held = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const slow = keeping(
      { ...shelf, put: (key, body, info) => held.then(() => shelf.put(key, body, info)) },
      record,
    ).take(HEAD, chunks(BYTES));
    await keeping(shelf, record).take(HEAD, chunks(BYTES));
    goOn();
    await slow;
    expect([...shelf.stored.keys()]).toEqual([record.stored()]);
  });
});

describe("an output", () => {
  it("that names a file which never came is incomplete", () =>
    expect(() => sinkOn(createShelf()).resolve({ image: { $artifact: 3 } })).toThrow(
      expect.objectContaining({ code: "runner_incomplete_response" }),
    ));

  it("without files passes through, odd names and null included", () => {
    const output = JSON.parse(
      '{"a":[null,1,"x",{"b":true}],"$artifact":"text","__proto__":{"polluted":1}}',
    ) as JsonObject;
    const resolved = sinkOn(createShelf()).resolve(output);
    expect(JSON.stringify(resolved)).toBe(JSON.stringify(output));
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });
});
