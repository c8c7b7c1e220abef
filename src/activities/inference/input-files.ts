import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import { attachment, type InputFile, type InputUrl, inputUrls } from "../../core/files/input-file.ts";
import type { Json, JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Download, GuardedHttp } from "../../core/operations/guarded-http.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";

export interface FetchedInput extends AsyncDisposable {
  /** The input with each fetched URL replaced by `attachment:<index>`. */
  input: JsonObject;
  files: InputFile[];
}

/**
 * Fetches what the `…_url` fields of an input name, for one attempt; disposing removes the files.
 *
 * Rejects with `file_download_error` or `file_too_large`, their faults naming the field (contract §7.1).
 */
export type FetchInput = (input: JsonObject, ownerId: string, signal: AbortSignal) => Promise<FetchedInput>;

export interface FetchInputDependencies {
  http: Pick<GuardedHttp, "download">;
  objects: Pick<ObjectStore, "get">;
  /**
   * The key of an object of our own that an address names and that this owner may read: it is read without a
   * detour over the network.
   */
  ownKey: (url: string, ownerId: string) => Promise<string | undefined>;
  /** Where the files are put, each input's in a folder of its own. */
  folder: string;
  /** How long all files of one input may take together, and how large they may be together. */
  withinMs?: number;
  bytesMax?: number;
}

export const createFetchInput = ({
  http,
  objects,
  ownKey,
  folder: root,
  withinMs = LIMITS.inputFilesMs,
  bytesMax: bytesMaxTogether = LIMITS.inputFilesBytesMax,
}: FetchInputDependencies): FetchInput => {
  const open = async (
    url: string,
    ownerId: string,
    bytesMax: number,
    signal: AbortSignal,
  ): Promise<Download> => {
    if (/^data:/i.test(url)) return dataUri(url, bytesMax);
    if (!/^https?:/i.test(url))
      throw new TemperaError("file_download_error", "The address is no http, https or data URL.");
    const key = await ownKey(url, ownerId);
    const own = key === undefined ? undefined : await objects.get(key);
    if (!own) return http.download(url, { bytesMax, timeoutMs: withinMs, signal });
    if (own.info.bytes > bytesMax) own.body.destroy();
    if (own.info.bytes > bytesMax) throw new TemperaError("file_too_large");
    return { contentType: own.info.contentType, body: own.body };
  };

  return async function fetchInput(input, ownerId, signal) {
    const urls = inputUrls(input);
    if (urls.length === 0) return { input, files: [], [Symbol.asyncDispose]: async () => {} };
    if (urls.length > LIMITS.inputFilesMax) {
      const { loc } = urls[LIMITS.inputFilesMax] as InputUrl;
      const msg = `The input names ${urls.length} files, more than the ${LIMITS.inputFilesMax} that are fetched.`;
      throw fault("file_download_error", loc, msg);
    }
    const folder = await mkdtemp(join(root, "input-"));
    const remove = () => rm(folder, { recursive: true, force: true });
    const files: InputFile[] = [];
    const completed = structuredClone(input);
    let bytesLeft = bytesMaxTogether;
    // An engine's slot is held meanwhile: their time is one, and the first that cannot be had ends it for the
    // others.
    const late = AbortSignal.timeout(withinMs);
    const failed = new AbortController();
    const wanted = AbortSignal.any([signal, late, failed.signal]);

    const fetchOne = async (index: number, { url, loc }: InputUrl): Promise<void> => {
      const bytesMax = Math.min(LIMITS.inputFileBytesMax, bytesLeft);
      const count = (bytes: number): void => {
        bytesLeft -= bytes;
        if (bytesLeft < 0) throw new TemperaError("file_too_large");
      };
      try {
        wanted.throwIfAborted();
        const file = await save(
          await open(url, ownerId, bytesMax, wanted),
          join(folder, String(index)),
          count,
          wanted,
        );
        files[index] = file;
        replace(completed, loc, attachment(index));
      } catch (error) {
        signal.throwIfAborted();
        failed.signal.throwIfAborted();
        if (late.aborted)
          throw fault(
            "file_download_error",
            loc,
            `The files of the input did not all come within ${withinMs / 1000} s.`,
          );
        if (
          !isTemperaError(error) ||
          (error.code !== "file_download_error" && error.code !== "file_too_large")
        )
          throw error;
        if (error.code === "file_download_error") throw fault(error.code, loc, error.message);
        const together = bytesLeft < 0 || bytesMax < LIMITS.inputFileBytesMax;
        const max_size = together ? bytesMaxTogether : bytesMax;
        const what = together ? "The files of the input are together" : "The file is";
        throw fault(error.code, loc, `${what} larger than ${max_size.toLocaleString("en-US")} bytes.`, {
          max_size,
        });
      }
    };
    const queue = urls.entries();
    const fetchSome = async (): Promise<void> => {
      for (const [index, url] of queue) await fetchOne(index, url);
    };
    const fetching = Array.from({ length: LIMITS.inputFilesAtOnce }, fetchSome);
    try {
      await Promise.all(fetching);
      return { input: completed, files, [Symbol.asyncDispose]: remove };
    } catch (error) {
      failed.abort(error);
      await Promise.allSettled(fetching);
      await remove();
      throw error;
    }
  };
};

const fault = (
  code: "file_download_error" | "file_too_large",
  loc: (string | number)[],
  msg: string,
  ctx?: Record<string, unknown>,
): TemperaError =>
  new TemperaError(code, msg, { faults: [{ loc: ["body", ...loc], msg, type: code, ...(ctx && { ctx }) }] });

async function save(
  { contentType, body }: Download,
  path: string,
  count: (bytes: number) => void,
  signal: AbortSignal,
): Promise<InputFile> {
  const hash = createHash("sha256");
  let bytes = 0;
  const counted = async function* (): AsyncGenerator<Buffer> {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      hash.update(chunk);
      bytes += chunk.length;
      count(chunk.length);
      yield chunk;
    }
  };
  await pipeline(
    Readable.from(counted(), { objectMode: false }),
    createWriteStream(path, { flags: "wx", mode: 0o600 }),
    { signal },
  );
  return { path, contentType, bytes, sha256: hash.digest("hex") };
}

/**
 * `data:[<type>][;base64],<data>` (RFC 2397). It is in memory already, within the limit of a request body.
 */
function dataUri(url: string, bytesMax: number): Download {
  const comma = url.indexOf(",");
  const head = url.slice("data:".length, comma);
  if (comma < 0 || head.length > 200)
    throw new TemperaError("file_download_error", "The data URI has no comma between its type and its data.");
  const base64 = /;base64$/i.test(head);
  const data = url.slice(comma + 1);
  const bytes = base64 ? fromBase64(data) : fromPercent(data);
  if (bytes.length > bytesMax) throw new TemperaError("file_too_large");
  const contentType = head.replace(/;base64$/i, "") || "text/plain;charset=US-ASCII";
  return { contentType, body: Readable.from([bytes], { objectMode: false }) };
}

function fromBase64(data: string): Buffer {
  const text = data.includes("%") ? fromPercent(data).toString("latin1") : data;
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(text))
    throw new TemperaError("file_download_error", "The data URI is not base64.");
  return Buffer.from(text, "base64");
}

/** Each `%XX` is one octet, whatever it is part of; other characters are their UTF-8. */
function fromPercent(data: string): Buffer {
  if (/%(?![0-9a-f]{2})/i.test(data)) {
    throw new TemperaError(
      "file_download_error",
      "The data URI has a % that is not followed by two hexadecimal digits.",
    );
  }
  const text = Buffer.from(data);
  let end = 0;
  for (let at = 0; at < text.length; at++) {
    const byte = text[at] as number;
    text[end++] = byte === 0x25 ? 16 * hexDigit(text[++at] as number) + hexDigit(text[++at] as number) : byte;
  }
  return text.subarray(0, end);
}

const hexDigit = (code: number): number => (code <= 0x39 ? code - 0x30 : (code | 0x20) - 0x57);

function replace(input: JsonObject, loc: (string | number)[], value: string): void {
  let at: Json = input;
  for (const step of loc.slice(0, -1)) at = (at as JsonObject)[step] as Json;
  (at as JsonObject)[loc.at(-1) as string | number] = value;
}
