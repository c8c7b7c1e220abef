import { mkdtemp, readdir, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CATALOGUE } from "../../core/errors/catalogue.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { fileKey } from "../../core/files/file.ts";
import { LIMITS } from "../../core/limits.ts";
import type { GuardedHttp } from "../../core/operations/guarded-http.ts";
import { createFetchInput, type FetchInputDependencies } from "./input-files.ts";
import { LoraCache } from "./loras/lora-cache.ts";
import { headed, safetensors } from "./loras/safetensors.fixture.ts";

const NEVER = new AbortController().signal;
const PIXELS = Buffer.from(Array.from({ length: 400 }, (_, index) => (index * 7919) % 251));
const PIXELS_BASE64 = PIXELS.toString("base64");

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-input-files-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const fetcher = (
  download: GuardedHttp["download"] = unexpected,
  options: Partial<FetchInputDependencies> = {},
) =>
  createFetchInput({
    http: { download },
    objects: { get: async () => undefined, head: async () => undefined },
    resolveFileUrl: async () => undefined,
    folder,
    loras: {
      cache: new LoraCache({ folder: join(folder, "loras"), bytesMax: 10_000 }),
      hubUrl: "https://hub.example",
    },
    ...options,
  });
const unexpected = () => Promise.reject(new Error("no download was expected"));
const textDownload = (body: string) => ({
  contentType: "text/plain",
  body: Readable.from([Buffer.from(body)], { objectMode: false }),
});

it("names this worker's disk when it is full, and leaves nothing there", async () => {
  // Whatever is written to this device fails with ENOSPC.
  const download = async () => {
    const [input = ""] = await readdir(folder);
    await symlink("/dev/full", join(folder, input, "0"));
    return textDownload("bytes");
  };
  const fetching = fetcher(download)({ file_url: "https://files.example.com/a" }, "ann", NEVER);
  await expect(fetching).rejects.toMatchObject({
    code: "store_full",
    store: "GPU worker's disk",
    message:
      "The GPU worker's disk has no space left (ENOSPC); " +
      "free space on it, or set TMPDIR to a folder with more.",
  });
  expect(await readdir(folder)).toEqual([]);
});

describe("a data URI", () => {
  const bytesOf = async (url: string): Promise<Buffer> => {
    await using fetched = await fetcher()({ file_url: url }, "ann", NEVER);
    return await readFile(fetched.files[0]?.path ?? "");
  };

  it.each([
    ["data:,plain%20text", Buffer.from("plain text")],
    ["data:image/png,%89PNG%0D%0a%FF%00", Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0xff, 0x00])],
    ["data:text/plain;charset=utf-8,%C3%A9é", Buffer.from("éé")],
    ["data:application/octet-stream;base64,/%2B8%3D", Buffer.from([0xff, 0xef])],
  ])("%s decodes to its bytes", async (url, bytes) => expect(await bytesOf(url)).toEqual(bytes));

  it.each([
    ["wrapped at 76 columns", `data:image/png;base64,${PIXELS_BASE64.replace(/.{76}/g, "$&\n")}`],
    ["wrapped with CRLF", `data:image/png;base64,${PIXELS_BASE64.replace(/.{64}/g, "$&\r\n")}`],
    ["with a blank after the comma", `data:image/png;base64, ${PIXELS_BASE64}`],
    ["with a blank before base64", `data:image/png; base64,${PIXELS_BASE64}`],
    [
      "wrapped with escaped line ends",
      `data:image/png;base64,${PIXELS_BASE64.replace(/.{76}/g, "$&%0D%0A")}`,
    ],
    ["between white space", ` \n\tdata:image/png;base64,${PIXELS_BASE64}\n `],
    ["without its padding", `data:image/png;base64,${PIXELS_BASE64.replace(/=+$/, "")}`],
  ])("of base64 %s decodes to its bytes", async (_how, url) => expect(await bytesOf(url)).toEqual(PIXELS));

  it("is bounded by the size of its bytes, not of its text", async () => {
    const blanks = " ".repeat(5_000);
    await using fetched = await fetcher(unexpected, { bytesMax: PIXELS.length })(
      { file_url: `data:;base64,${blanks}${PIXELS_BASE64}` },
      "ann",
      NEVER,
    );
    expect(fetched.files[0]?.bytes).toBe(PIXELS.length);
    for (const url of [`data:;base64,${PIXELS_BASE64}`, `data:,${"x".repeat(PIXELS.length)}`]) {
      const small = fetcher(unexpected, { bytesMax: PIXELS.length - 1 });
      await expect(small({ file_url: url }, "ann", NEVER)).rejects.toMatchObject({ code: "file_too_large" });
    }
  });

  it.each([
    ["data:,100%", "%"],
    ["data:,%4", "%"],
    ["data:,%zz", "%"],
    ["data:,%-1", "%"],
    ["data:;base64,a%", "%"],
    ["data:;base64,AAAAA", "cut off"],
    ["data:;base64,AA*A", "not base64"],
    ["data:image/png;base64, \r\n", "no data"],
    ["data:,", "no data"],
  ])("%j is refused, since %s", (url, why) =>
    expect(bytesOf(url)).rejects.toMatchObject({
      code: "file_download_error",
      message: expect.stringContaining(why),
      faults: [expect.objectContaining({ loc: ["body", "file_url"] })],
    }),
  );
});

describe("an address between white space", () => {
  it.each([
    "  http://files.example/plain.png\n",
    "\thttps://files.example/plain.png\r\n",
    "\u0000HTTP://files.example/a ",
  ])("%j is fetched without it, as the URL standard strips it", async (url) => {
    const requested: string[] = [];
    const fetchInput = fetcher(async (address) => {
      requested.push(address);
      return textDownload("bytes");
    });
    await using fetched = await fetchInput({ image_url: url, image_urls: [url] }, "ann", NEVER);
    expect(requested).toEqual([expect.stringMatching(/^https?:\S+$/i), requested[0]]);
    expect(fetched.input).toEqual({ image_url: "attachment:0", image_urls: ["attachment:1"] });
  });
});

describe("a file of this platform in a content coding", () => {
  const stored = (bytes: Buffer, bytesMax = 1_000) =>
    fetcher(unexpected, {
      resolveFileUrl: async () => fileKey("0".repeat(32), "gzip"),
      objects: {
        get: async () => ({
          info: { bytes: bytes.length, contentType: "image/png" },
          body: Readable.from([bytes], { objectMode: false }),
        }),
        head: async () => undefined,
      },
      bytesMax,
    })({ image_url: "http://localhost:8080/files/x/y" }, "ann", NEVER);

  it("is decoded for the engine, within the same limits", async () => {
    await using fetched = await stored(gzipSync(PIXELS));
    expect(await readFile(fetched.files[0]?.path ?? "")).toEqual(PIXELS);
    await expect(stored(gzipSync(Buffer.alloc(1_000_000)))).rejects.toMatchObject({ code: "file_too_large" });
    await expect(stored(PIXELS)).rejects.toMatchObject({
      code: "file_download_error",
      message: expect.stringContaining("cannot be decoded as gzip"),
    });
  });
});

describe("a host that fails for now", () => {
  const forNow = (retryAfterMs?: number) =>
    new TemperaError("file_unavailable", "The host answers 503.", {
      ...(retryAfterMs !== undefined && { retryAfterMs }),
    });
  const input = { image_url: "http://files.example/0" };

  it("is tried again, also when it breaks off within the file", async () => {
    let tries = 0;
    const fetchInput = fetcher(
      async () => {
        tries += 1;
        if (tries === 1) throw forNow(0);
        if (tries > 2) return textDownload("whole");
        const half = async function* () {
          yield Buffer.from("ha");
          throw forNow();
        };
        return { contentType: "text/plain", body: Readable.from(half(), { objectMode: false }) };
      },
      { retryDelaysMs: [0, 0, 0], bytesMax: "whole".length },
    );
    await using fetched = await fetchInput(input, "ann", NEVER);
    expect(tries).toBe(3);
    expect(await readFile(fetched.files[0]?.path ?? "", "utf8")).toBe("whole");
    expect(fetched.files[0]?.bytes).toBe(5);
  });

  it("is a retryable error once it has failed for the last time", async () => {
    let tries = 0;
    const fetchInput = fetcher(
      async () => {
        tries += 1;
        throw forNow();
      },
      { retryDelaysMs: [0, 0] },
    );
    await expect(fetchInput(input, "ann", NEVER)).rejects.toMatchObject({
      code: "file_unavailable",
      faults: [{ loc: ["body", "image_url"], type: "file_download_error", msg: "The host answers 503." }],
    });
    expect(tries).toBe(3);
    expect(CATALOGUE.file_unavailable.retryable).toBe(true);
    expect(await readdir(folder)).toEqual([]);
  });

  it("that asks for a longer wait than the time that is left is not waited for", async () => {
    const fetchInput = fetcher(async () => Promise.reject(forNow(LIMITS.inputFilesMs)), {
      retryDelaysMs: [0],
    });
    await expect(fetchInput(input, "ann", NEVER)).rejects.toMatchObject({
      code: "file_unavailable",
      retryAfterMs: LIMITS.inputFilesMs,
    });
  });

  it("is not waited for once the attempt is aborted", async () => {
    const gone = new AbortController();
    const fetchInput = fetcher(
      async () => {
        gone.abort(new Error("cancelled"));
        throw forNow();
      },
      { retryDelaysMs: [LIMITS.inputFilesMs / 2] },
    );
    await expect(fetchInput(input, "ann", gone.signal)).rejects.toThrow("cancelled");
  });
});

describe("the files of an input", () => {
  const urls = (n: number) => Array.from({ length: n }, (_, i) => `http://files.example/${i}`);

  it("are fetched a few at a time, each under its own index", async () => {
    let [now, most] = [0, 0];
    const fetchInput = fetcher(async (url) => {
      now += 1;
      most = Math.max(most, now);
      await new Promise((resolve) => setTimeout(resolve, 5 + ((Number(url.at(-1)) * 7) % 11)));
      now -= 1;
      return textDownload(url);
    });
    await using fetched = await fetchInput({ image_urls: urls(10) }, "ann", NEVER);
    expect(fetched.input).toEqual({ image_urls: Array.from({ length: 10 }, (_, i) => `attachment:${i}`) });
    const texts = await Promise.all(fetched.files.map(({ path }) => readFile(path, "utf8")));
    expect(texts).toEqual(urls(10));
    expect(most).toBe(LIMITS.inputFilesAtOnce);
  });

  it("share one time limit, and leave no files after it", async () => {
    const fetchInput = fetcher(
      async (url, { signal }) => {
        if (url.endsWith("/0")) return textDownload("quick");
        return new Promise((_resolve, reject) =>
          signal.addEventListener("abort", () => reject(signal.reason), { once: true }),
        );
      },
      { withinMs: 50 },
    );
    await expect(fetchInput({ image_urls: urls(20) }, "ann", NEVER)).rejects.toMatchObject({
      code: "file_download_error",
      message: expect.stringContaining("0.05 s"),
      faults: [{ loc: ["body", "image_urls", expect.any(Number)], type: "file_download_error" }],
    });
    expect(await readdir(folder)).toEqual([]);
  });

  it("are aborted together when one of them fails", async () => {
    let aborted = 0;
    const fetchInput = fetcher(async (url, { signal }) => {
      if (url.endsWith("/1")) throw new TemperaError("file_download_error", "There is no such file.");
      return new Promise((_resolve, reject) =>
        signal.addEventListener("abort", () => {
          aborted += 1;
          reject(signal.reason);
        }),
      );
    });
    await expect(fetchInput({ image_urls: urls(9) }, "ann", NEVER)).rejects.toMatchObject({
      faults: [{ loc: ["body", "image_urls", 1], msg: "There is no such file." }],
    });
    expect(aborted).toBe(LIMITS.inputFilesAtOnce - 1);
    expect(await readdir(folder)).toEqual([]);
  });

  it("share one size limit", async () => {
    const fetchInput = fetcher(async () => textDownload("x".repeat(40)), { bytesMax: 100 });
    await expect(fetchInput({ image_urls: urls(3) }, "ann", NEVER)).rejects.toMatchObject({
      code: "file_too_large",
    });
    await using fetched = await fetchInput({ image_urls: urls(2) }, "ann", NEVER);
    expect(fetched.files.map(({ bytes }) => bytes)).toEqual([40, 40]);
  });

  it("are aborted with their attempt", async () => {
    const gone = new AbortController();
    const fetchInput = fetcher(
      async (_url, { signal }) =>
        new Promise((_resolve, reject) => {
          if (signal.aborted) return reject(signal.reason);
          signal.addEventListener("abort", () => reject(signal.reason), { once: true });
          gone.abort(new Error("cancelled"));
        }),
    );
    await expect(fetchInput({ image_urls: urls(5) }, "ann", gone.signal)).rejects.toThrow("cancelled");
    expect(await readdir(folder)).toEqual([]);
  });

  it("are removed when the attempt has ended", async () => {
    const fetched = await fetcher(async () => textDownload("kept"))(
      { file_url: "http://files.example/x" },
      "ann",
      NEVER,
    );
    expect(await readdir(folder)).toHaveLength(1);
    await fetched[Symbol.asyncDispose]();
    expect(await readdir(folder)).toEqual([]);
  });
});

describe("LoRA weights", () => {
  const WEIGHTS = safetensors({ "lora_A.weight": 64 });
  const weights = (body: Buffer = WEIGHTS) => ({
    contentType: "application/octet-stream",
    body: Readable.from([body], { objectMode: false }),
  });
  const refusal = async (lora: object, download: GuardedHttp["download"] = unexpected) =>
    fetcher(download)({ loras: [lora as never] }, "ann", NEVER).then(
      () => undefined,
      (error) => error,
    );

  it("are fetched like other files, by address or from a repository of the hub", async () => {
    const urls: string[] = [];
    const download = async (url: string) => {
      urls.push(url);
      return weights();
    };
    const input = {
      loras: [
        { path: "https://files.example.com/a.safetensors", scale: 0.5 },
        { path: "owner/name", weight_name: "high/b.safetensors" },
      ],
    };
    await using fetched = await fetcher(download)(input, "ann", NEVER);
    expect(fetched.input).toEqual({
      loras: [
        { path: "attachment:0", scale: 0.5 },
        { path: "attachment:1", weight_name: "high/b.safetensors" },
      ],
    });
    expect(urls.sort()).toEqual([
      "https://files.example.com/a.safetensors",
      "https://hub.example/owner/name/resolve/main/high/b.safetensors",
    ]);
    for (const { path } of fetched.files) expect(await readFile(path)).toEqual(WEIGHTS);
  });

  it("of this platform are read from the object store, once for all requests of those who may", async () => {
    const keys: string[] = [];
    let isDeleted = false;
    const info = { bytes: WEIGHTS.length, contentType: "" };
    const fetchInput = fetcher(unexpected, {
      resolveFileUrl: async (_url, ownerId) => (ownerId === "ann" ? "files/1" : undefined),
      objects: {
        get: async (key) => {
          keys.push(key);
          return { info, body: Readable.from([WEIGHTS], { objectMode: false }) };
        },
        head: async () => (isDeleted ? undefined : info),
      },
    });
    const input = { loras: [{ path: "http://localhost/files/1/a.safetensors" }] };
    for (let i = 0; i < 3; i++) await (await fetchInput(input, "ann", NEVER))[Symbol.asyncDispose]();
    expect(keys).toEqual(["files/1"]);
    await expect(fetchInput(input, "bob", NEVER)).rejects.toThrow("no download was expected");
    isDeleted = true;
    await expect(fetchInput(input, "ann", NEVER)).rejects.toThrow("no download was expected");
  });

  it.each([
    ["a local path", { path: "/etc/passwd" }, "http, https or data URL, or by a repository"],
    ["a path out of the hub", { path: "../name", weight_name: "a.safetensors" }, "or by a repository"],
    ["a repository without a file", { path: "owner/name" }, "name it in `weight_name`"],
    ["a file of another format", { path: "owner/name", weight_name: "a.ckpt" }, "ends in `.safetensors`"],
    ["a file outside", { path: "owner/name", weight_name: "../../a.safetensors" }, "ends in `.safetensors`"],
  ])("named by %s are refused", async (_how, lora, message) => {
    const loc = ["body", "loras", 0, "path"];
    expect(await refusal(lora)).toMatchObject({
      code: "file_download_error",
      faults: [{ loc, msg: expect.stringContaining(message) }],
    });
  });

  it.each([
    ["pickled", Buffer.from("PK\u0003\u0004 archive/data.pkl"), "is no safetensors file, or is cut short"],
    ["cut short", WEIGHTS.subarray(0, -1), "has 63 bytes of tensors where 64 were announced"],
    ["of too many levels", headed("[".repeat(100_000)), "has a header with too many levels"],
    [
      "of too many tensors",
      headed(`{${Array.from({ length: 30_000 }, (_, i) => `"${i}":0`).join(",")}}`),
      "has a header with too many fields",
    ],
    ["of 4 bytes", WEIGHTS.subarray(0, 4), "is no safetensors file"],
  ])("that are %s are refused, and not kept", async (_how, body, message) => {
    const lora = { path: "https://files.example.com/a" };
    expect(await refusal(lora, async () => weights(body))).toMatchObject({
      code: "file_download_error",
      message: `The file ${message}; name LoRA weights in that format.`,
    });
    expect(await readdir(join(folder, "loras"))).toEqual([]);
  });

  it("that are too large are refused with the largest size", async () => {
    const download = () => Promise.reject(new TemperaError("file_too_large"));
    expect(await refusal({ path: "https://files.example.com/a" }, download)).toMatchObject({
      code: "file_too_large",
      faults: [{ loc: ["body", "loras", 0, "path"], ctx: { max_size: LIMITS.loraBytesMax } }],
    });
  });

  it("are bounded in number", async () => {
    const loras = Array(LIMITS.lorasMax + 1).fill({ path: "https://files.example.com/a" });
    await expect(fetcher()({ loras }, "ann", NEVER)).rejects.toMatchObject({
      code: "file_download_error",
      message: "The input names 4 LoRA weights, and at most 3 are fetched.",
    });
  });
});
