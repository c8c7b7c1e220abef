import { createHash } from "node:crypto";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { Header } from "tar";
import { describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import { loadRegistry } from "../registry.ts";
import { ECHO_MANIFEST } from "./echo-manifest.fixture.ts";
import { readModelArchive } from "./model-archive.ts";
import { createManifestCheck } from "./package-check.ts";
import { createContentCheck } from "./package-content.ts";

const SCHEMAS = new URL("../../../schemas", import.meta.url).pathname;
const checkManifest = createManifestCheck(SCHEMAS);

interface Item {
  path: string;
  content?: string | Buffer;
  type?: "File" | "Directory" | "SymbolicLink" | "Link" | "CharacterDevice" | "FIFO";
  linkpath?: string;
  size?: number;
}

/** A tar of exactly these headers and bytes, whatever sense they make. */
function tarOf(items: Item[]): Buffer {
  const blocks = items.flatMap(({ path, content = "", type = "File", linkpath, size }) => {
    const bytes = Buffer.from(content);
    const header = new Header({
      path,
      type,
      size: size ?? bytes.length,
      mode: 0o644,
      mtime: new Date(0),
      ...(linkpath && { linkpath }),
    });
    header.encode(Buffer.alloc(512));
    const block = Buffer.alloc(512);
    header.encode(block);
    return [block, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

const sha256 = (content: string | Buffer): string => createHash("sha256").update(content).digest("hex");
const WEIGHTS = Buffer.alloc(300_000, "weights ");
const SCHEMA = JSON.stringify({ type: "object", properties: { prompt: { type: "string" } } });
const MANIFEST = { ...ECHO_MANIFEST, files: { "unet/model.onnx": sha256(WEIGHTS) } };
const TEXTS: Item[] = [
  { path: "model.yaml", content: stringify(MANIFEST) },
  { path: "schemas/input.json", content: SCHEMA },
  { path: "schemas/output.json", content: SCHEMA },
];
const WEIGHT: Item = { path: "unet/model.onnx", content: WEIGHTS };

async function read(archive: Buffer | AsyncIterable<Uint8Array>, chunkBytes = 10_000) {
  const stored: Buffer[] = [];
  async function* chunks(): AsyncGenerator<Uint8Array> {
    if (!Buffer.isBuffer(archive)) return yield* archive;
    for (let at = 0; at < archive.length; at += chunkBytes) yield archive.subarray(at, at + chunkBytes);
  }
  const result = await readModelArchive(chunks(), {
    checkContent: createContentCheck(checkManifest, { stub: ["stub"], onnx: ["text-to-image"] }),
    storeWeights: async (bytes: Readable, size) => {
      const parts: Buffer[] = [];
      for await (const chunk of bytes) parts.push(chunk as Buffer);
      expect(Buffer.concat(parts).length).toBe(size);
      stored.push(Buffer.concat(parts));
    },
  });
  return { ...result, stored };
}

const refusal = (archive: Buffer | AsyncIterable<Uint8Array>): Promise<string> =>
  read(archive).then(
    () => "accepted",
    (error: TemperaError) => `${error.code}: ${error.message}`,
  );

it("refuses a name that is a file and a folder at the push, and not on every worker's disk", async () => {
  const both = { "unet/model.onnx": sha256(WEIGHTS), "unet/model.onnx/data": sha256("x") };
  const manifest: Item = { path: "model.yaml", content: stringify({ ...MANIFEST, files: both }) };
  const archive = tarOf([
    manifest,
    ...TEXTS.slice(1),
    WEIGHT,
    { path: "unet/model.onnx/data", content: "x" },
  ]);
  expect(await refusal(archive)).toBe("package_invalid: unet/model.onnx: is a file and a folder");
});

describe("a valid archive", () => {
  it.each<[string, (tar: Buffer) => Buffer, Item[]]>([
    ["tar.gz", (tar) => gzipSync(tar), [...TEXTS, WEIGHT]],
    ["tar", (tar) => tar, [...TEXTS, WEIGHT]],
    [
      "in any order, with ./ and folders",
      (tar) => gzipSync(tar),
      [
        { path: "./", type: "Directory" },
        { path: "./unet/", type: "Directory" },
        ...[WEIGHT, ...TEXTS].map((item) => ({ ...item, path: `./${item.path}` })),
      ],
    ],
  ])("%s is read to its end", async (_, packed, items) => {
    const { model, files, stored } = await read(packed(tarOf(items)));
    expect(model).toMatchObject({ endpoint: "acme/echo", version: "1.0.0", slots: 1 });
    expect(files).toEqual([{ path: "unet/model.onnx", sha256: sha256(WEIGHTS), bytes: WEIGHTS.length }]);
    expect(stored.map((bytes) => bytes.equals(WEIGHTS))).toEqual([true]);
  });

  it("has the digest that the same package has in the models folder", async () => {
    const root = mkdtempSync(join(tmpdir(), "tempera-archive-"));
    const { mkdirSync, writeFileSync } = await import("node:fs");
    mkdirSync(join(root, "models/acme/echo/1.0.0/unet"), { recursive: true });
    mkdirSync(join(root, "schemas/models/acme/echo/1.0.0"), { recursive: true });
    copyFileSync(join(SCHEMAS, "manifest.json"), join(root, "schemas/manifest.json"));
    for (const { path, content } of [...TEXTS, WEIGHT])
      writeFileSync(
        join(
          root,
          path
            .replace(/^schemas\//, "schemas/models/acme/echo/1.0.0/")
            .replace(/^(model.yaml|unet)/, "models/acme/echo/1.0.0/$1"),
        ),
        content ?? "",
      );
    const registry = await loadRegistry({
      modelsFolder: join(root, "models"),
      schemasFolder: join(root, "schemas"),
    });
    rmSync(root, { recursive: true });
    const { model } = await read(gzipSync(tarOf([...TEXTS, WEIGHT])));
    expect(model.digest).toBe(registry.list()[0]?.digest);
  });
});

describe("an archive that is refused", () => {
  it.each<[string, Item[], RegExp]>([
    [
      "a symbolic link",
      [{ path: "unet/model.onnx", type: "SymbolicLink", linkpath: "/etc/passwd" }],
      /"unet\/model\.onnx" is a SymbolicLink; a package may have plain files only/,
    ],
    ["a hard link", [{ path: "a", type: "Link", linkpath: "model.yaml" }], /is a Link/],
    ["a device", [{ path: "a", type: "CharacterDevice" }], /is a CharacterDevice/],
    ["a pipe", [{ path: "a", type: "FIFO" }], /is a FIFO/],
    [
      "a path above it",
      [{ path: "../../etc/cron.d/x", content: "x" }],
      /"\.\.\/\.\.\/etc\/cron\.d\/x" is not a valid path/,
    ],
    ["a path above it, in the middle", [{ path: "unet/../../x", content: "x" }], /is not a valid path/],
    ["an absolute path", [{ path: "/etc/x", content: "x" }], /is not a valid path/],
    ["a backslash", [{ path: "..\\x", content: "x" }], /is not a valid path/],
    ["a hidden file", [{ path: ".ssh/x", content: "x" }], /is not a valid path/],
    ["one file twice", [TEXTS[0] as Item], /has "model\.yaml" twice/],
    [
      "a file that the manifest does not name",
      [{ path: "README.md", content: "x" }],
      /"README\.md": is not named in model\.yaml/,
    ],
  ])("with %s", async (_, items, message) =>
    expect(await refusal(gzipSync(tarOf([...TEXTS, ...items])))).toMatch(message),
  );

  it("without its parts, all of them named", async () => {
    expect(await refusal(tarOf([TEXTS[0] as Item]))).toMatch(
      new RegExp(
        "^package_invalid: schemas/input\\.json: missing; " +
          "schemas/output\\.json: missing; unet/model\\.onnx: missing$",
      ),
    );
    expect(await refusal(tarOf([WEIGHT]))).toMatch(/no model\.yaml at its top/);
  });

  it("with other weights than those of its manifest", async () =>
    expect(await refusal(tarOf([...TEXTS, { ...WEIGHT, content: "other" }]))).toMatch(
      /unet\/model\.onnx: digest is/,
    ));

  it("with more entries than a package may have", async () => {
    const many = Array.from({ length: LIMITS.packageFilesMax + 1 }, (_, i) => ({
      path: `f${i}`,
      content: "",
    }));
    expect(await refusal(gzipSync(tarOf(many)))).toMatch(/more than 2,000 entries/);
  });

  it("with a file above the limit, before any byte of it is read", async () => {
    const big = { path: "big", size: LIMITS.packageFileBytesMax + 1 };
    expect(await refusal(gzipSync(tarOf([big, ...TEXTS])))).toMatch(/a file may have at most 5,368,709,120/);
  });

  it("that is not an archive", async () => {
    for (const bytes of [
      Buffer.alloc(0),
      Buffer.from("hello"),
      Buffer.alloc(5_000, "x"),
      gzipSync(Buffer.from("hello")),
    ])
      expect(await refusal(bytes)).toMatch(/^package_invalid: The archive/);
  });

  it("that was truncated anywhere", async () => {
    for (const archive of [gzipSync(tarOf([...TEXTS, WEIGHT])), tarOf([...TEXTS, WEIGHT])])
      for (const share of [0.1, 0.3, 0.5, 0.9])
        expect(await refusal(archive.subarray(0, Math.floor(archive.length * share))), String(share)).toMatch(
          /^package_invalid: /,
        );
  });

  it("whose sender disconnected, with that error and not with the missing files", async () => {
    const archive = gzipSync(
      tarOf([
        ...TEXTS,
        { ...WEIGHT, content: Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919) % 251)) },
      ]),
    );
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield archive.subarray(0, Math.floor(archive.length / 2));
      throw new TemperaError("upload_interrupted");
    }
    expect(await refusal(broken())).toMatch(/^upload_interrupted/);
  });
});

it("refuses what `tempera models check` refuses: all slips of a valid package, by name", async () => {
  const slips = stringify({ ...MANIFEST, engine: "onx" });
  const schema = JSON.stringify({ type: "object", properties: { a: { type: "string", pach: "x" } } });
  const archive = tarOf([
    { path: "model.yaml", content: slips },
    { path: "schemas/input.json", content: schema },
    TEXTS[2] as Item,
    WEIGHT,
  ]);
  const text = await refusal(archive);
  expect(text).toContain('model.yaml: /engine "onx" is no engine; did you mean "onnx"?');
  expect(text).toContain("input.json: /properties/a/pach is not a word of JSON Schema");
});
