import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";
import { diskFull } from "../../core/errors/store-failure.ts";
import { isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import { type ContentCoding, decodeContent, Undecodable } from "../../core/files/content-coding.ts";
import { codingOfKey } from "../../core/files/file.ts";
import { attachment, type InputFile, type InputUrl, inputUrls } from "../../core/files/input-file.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";
import type { Json, JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Download, DownloadLimits, GuardedHttp } from "../../core/operations/guarded-http.ts";
import { decodeDataUri } from "./data-uri.ts";
import type { ResolveFileUrl } from "./file-url-resolver.ts";
import type { LoraCache, LoraSource } from "./loras/lora-cache.ts";
import { loraUrl } from "./loras/lora-url.ts";

export interface FetchedInput extends AsyncDisposable {
  /** The input with each fetched URL replaced by `attachment:<index>`. */
  input: JsonObject;
  files: InputFile[];
}

/**
 * Downloads the files that the `…_url` fields of an input and its `loras` name, for one attempt. Disposing of
 * the result removes them.
 *
 * Rejects with `file_download_error`, `file_too_large`, or `file_unavailable` when a host has failed at each
 * try; their faults name the field (contract §7.1). Rejects with `store_full` when this worker's disk is.
 */
export type FetchInput = (input: JsonObject, ownerId: string, signal: AbortSignal) => Promise<FetchedInput>;

export interface FetchInputDependencies {
  http: Pick<GuardedHttp, "download">;
  objects: Pick<ObjectStore, "get" | "head">;
  /** Finds files of this platform, which are read from the object store without a detour over the network. */
  resolveFileUrl: ResolveFileUrl;
  /** LoRA weights that inputs name. */
  loras: {
    cache: Pick<LoraCache, "provide">;
    /** Address of the hub whose repositories inputs may name, without a slash at its end. */
    hubUrl: string;
  };
  /** The files of each input are written to a folder of their own in this one. */
  folder: string;
  /** Time for all files of one input together, in milliseconds. */
  withinMs?: number;
  /** Size of all files of one input together. */
  bytesMax?: number;
  /** Waits before a file is fetched again. @default 0.25 s, 1 s, 4 s */
  retryDelaysMs?: readonly number[];
}

const RETRY_DELAYS_MS = Array.from(
  { length: LIMITS.inputFileRetriesMax },
  (_, index) => LIMITS.inputFileRetryDelayMs * 4 ** index,
);

/** Creates the function that the inference activity downloads input files with. */
export function createFetchInput(dependencies: FetchInputDependencies): FetchInput {
  return async function fetchInput(input, ownerId, signal) {
    const urls = inputUrls(input);
    if (urls.length === 0) return { input, files: [], [Symbol.asyncDispose]: async () => {} };
    assertCount(urls);
    const folder = await mkdtemp(join(dependencies.folder, "input-")).catch((error) => {
      throw ofDisk(error);
    });
    const remove = () => rm(folder, { recursive: true, force: true });
    const downloads = new InputDownloads(dependencies, { input, ownerId, folder, signal });
    try {
      await downloads.fetchAll(urls);
      return { input: downloads.input, files: downloads.files, [Symbol.asyncDispose]: remove };
    } catch (error) {
      await remove();
      throw error;
    }
  };
}

function assertCount(urls: InputUrl[]): void {
  const loras = urls.filter(({ lora }) => lora);
  for (const [listed, max, noun] of [
    [urls, LIMITS.inputFilesMax, "files"],
    [loras, LIMITS.lorasMax, "LoRA weights"],
  ] as const) {
    const excess = listed[max];
    if (!excess) continue;
    const message = `The input names ${listed.length} ${noun}, and at most ${max} are fetched.`;
    throw fileError("file_download_error", excess.loc, message);
  }
}

/**
 * The downloads of one input. They share a time limit and a size limit, since the attempt holds an engine
 * slot meanwhile, and the first failure aborts the others.
 */
class InputDownloads {
  readonly input: JsonObject;
  readonly files: InputFile[] = [];
  readonly #dependencies: FetchInputDependencies;
  readonly #ownerId: string;
  readonly #folder: string;
  readonly #withinMs: number;
  readonly #bytesMax: number;
  readonly #retryDelaysMs: readonly number[];
  readonly #untilMs: number;
  #bytesLeft: number;
  #loraBytes = 0;
  /** The attempt's own signal. */
  readonly #attempt: AbortSignal;
  readonly #timeout: AbortSignal;
  readonly #failed = new AbortController();
  readonly #signal: AbortSignal;

  constructor(
    dependencies: FetchInputDependencies,
    {
      input,
      ownerId,
      folder,
      signal,
    }: { input: JsonObject; ownerId: string; folder: string; signal: AbortSignal },
  ) {
    this.input = structuredClone(input);
    this.#dependencies = dependencies;
    this.#ownerId = ownerId;
    this.#folder = folder;
    this.#withinMs = dependencies.withinMs ?? LIMITS.inputFilesMs;
    this.#bytesMax = dependencies.bytesMax ?? LIMITS.inputFilesBytesMax;
    this.#bytesLeft = this.#bytesMax;
    this.#retryDelaysMs = dependencies.retryDelaysMs ?? RETRY_DELAYS_MS;
    this.#untilMs = performance.now() + this.#withinMs;
    this.#attempt = signal;
    this.#timeout = AbortSignal.timeout(this.#withinMs);
    this.#signal = AbortSignal.any([signal, this.#timeout, this.#failed.signal]);
  }

  /** Downloads the files, several at a time. Rejects when all downloads have ended. */
  async fetchAll(urls: InputUrl[]): Promise<void> {
    const queue = urls.entries();
    const fetchNext = async (): Promise<void> => {
      for (const [index, url] of queue) await this.#fetch(index, url);
    };
    const workers = Array.from({ length: LIMITS.inputFilesAtOnce }, fetchNext);
    try {
      await Promise.all(workers);
    } catch (error) {
      this.#failed.abort(error);
      await Promise.allSettled(workers);
      throw error;
    }
  }

  async #fetch(index: number, { url, loc, lora }: InputUrl): Promise<void> {
    const bytesMax = lora ? LIMITS.loraBytesMax : Math.min(LIMITS.inputFileBytesMax, this.#bytesLeft);
    try {
      this.files[index] = await this.#withRetries(() =>
        lora ? this.#provideLora(index, url, lora) : this.#fetchOnce(index, url, bytesMax),
      );
      replaceAt(this.input, loc, attachment(index));
    } catch (error) {
      throw this.#errorOf(error, loc, bytesMax);
    }
  }

  /** Takes LoRA weights from the cache, which fetches them once for all requests. */
  async #provideLora(
    index: number,
    path: string,
    { weightName }: { weightName?: string },
  ): Promise<InputFile> {
    const { loras, objects } = this.#dependencies;
    const url = loraUrl(path, weightName, loras.hubUrl);
    const isData = isDataUri(url);
    const found = await this.#keyOf(url);
    // Deleted weights are not served, also where they are still kept.
    const key = found !== undefined && (await objects.head(found)) ? found : undefined;
    const source: LoraSource = {
      name: key ?? (isData ? createHash("sha256").update(url).digest("hex") : url),
      isImmutable: isData || key !== undefined,
      fetch: async (to, entity, signal) => {
        const bytesMax = LIMITS.loraBytesMax;
        const limits = { bytesMax, signal, ...(entity && { ifNoneMatch: entity }) };
        const download = await this.#open(url, key, limits);
        if (download.isUnchanged) return "unchanged";
        const file = await save(download, to, { count: () => {}, signal });
        return { file, ...(download.entity && { entity: download.entity }) };
      },
    };
    const file = await loras.cache.provide(source, join(this.#folder, String(index)), this.#signal);
    this.#loraBytes += file.bytes;
    if (this.#loraBytes > LIMITS.lorasBytesMax) throw new TemperaError("file_too_large");
    return file;
  }

  /** Fetches again while the host fails for now, if the wait fits into the time that is left. */
  async #withRetries(fetchOnce: () => Promise<InputFile>): Promise<InputFile> {
    for (const delayMs of this.#retryDelaysMs) {
      try {
        return await fetchOnce();
      } catch (error) {
        if (!isTemperaError(error) || error.code !== "file_unavailable") throw error;
        const waitMs = Math.max(delayMs, error.retryAfterMs ?? 0);
        if (performance.now() + waitMs >= this.#untilMs) throw error;
        await delay(waitMs, undefined, { signal: this.#signal });
      }
    }
    return fetchOnce();
  }

  async #fetchOnce(index: number, url: string, bytesMax: number): Promise<InputFile> {
    this.#signal.throwIfAborted();
    let counted = 0;
    const count = (bytes: number): void => {
      counted += bytes;
      this.#count(bytes);
    };
    try {
      const download = await this.#open(url, await this.#keyOf(url), { bytesMax, signal: this.#signal });
      return await save(download, join(this.#folder, String(index)), { count, signal: this.#signal });
    } catch (error) {
      // The next download writes over the bytes of a broken one.
      if (isTemperaError(error) && error.code === "file_unavailable") this.#bytesLeft += counted;
      throw error;
    }
  }

  /** Finds the key of the object, for a file of this platform that the owner may read. */
  async #keyOf(url: string): Promise<string | undefined> {
    return isDataUri(url) ? undefined : this.#dependencies.resolveFileUrl(url, this.#ownerId);
  }

  /** @param key of the object, for a file of this platform */
  async #open(
    url: string,
    key: string | undefined,
    limits: Omit<DownloadLimits, "timeoutMs">,
  ): Promise<Download> {
    const { bytesMax } = limits;
    if (isDataUri(url)) return decodeDataUri(url, bytesMax);
    if (!/^https?:/i.test(url))
      throw new TemperaError("file_download_error", "The address is no http, https or data URL.");
    const { http, objects } = this.#dependencies;
    const object = key === undefined ? undefined : await objects.get(key);
    if (!object) return http.download(url, { ...limits, timeoutMs: this.#withinMs });
    if (object.info.bytes > bytesMax) {
      object.body.destroy();
      throw new TemperaError("file_too_large");
    }
    const { contentType } = object.info;
    const coding = key === undefined ? undefined : codingOfKey(key);
    if (coding === undefined) return { contentType, body: object.body };
    return {
      contentType,
      body: Readable.from(decodeUpTo(object.body, coding, bytesMax), { objectMode: false }),
    };
  }

  #count(bytes: number): void {
    this.#bytesLeft -= bytes;
    if (this.#bytesLeft < 0) throw new TemperaError("file_too_large");
  }

  /** Returns the error of a download for the caller, with the field that names the file. */
  #errorOf(error: unknown, loc: InputUrl["loc"], bytesMax: number): unknown {
    if (this.#attempt.aborted) return this.#attempt.reason;
    if (this.#failed.signal.aborted) return this.#failed.signal.reason;
    if (this.#timeout.aborted) {
      const message = `The files of the input did not all arrive within ${this.#withinMs / 1000} s.`;
      return fileError("file_download_error", loc, message);
    }
    if (!isTemperaError(error)) return error;
    if (error.code === "file_download_error") return fileError(error.code, loc, error.message);
    if (error.code === "file_unavailable") {
      const { faults } = fileError("file_download_error", loc, error.message);
      const { retryAfterMs } = error;
      return new TemperaError(error.code, error.message, {
        ...(faults && { faults }),
        ...(retryAfterMs !== undefined && { retryAfterMs }),
      });
    }
    if (error.code !== "file_too_large") return error;
    const [subject, max_size] = this.#excess(bytesMax);
    const message = `${subject} larger than ${max_size.toLocaleString("en-US")} bytes.`;
    return fileError("file_too_large", loc, message, { max_size });
  }

  /** Names what is too large, and the size that it may have. */
  #excess(bytesMax: number): [subject: string, maxSize: number] {
    if (this.#loraBytes > LIMITS.lorasBytesMax)
      return ["The LoRA weights of the input are together", LIMITS.lorasBytesMax];
    const together = this.#bytesLeft < 0 || bytesMax < LIMITS.inputFileBytesMax;
    return together ? ["The files of the input are together", this.#bytesMax] : ["The file is", bytesMax];
  }
}

const isDataUri = (url: string): boolean => /^data:/i.test(url);

function fileError(
  code: "file_download_error" | "file_too_large",
  loc: (string | number)[],
  msg: string,
  ctx?: Record<string, unknown>,
): TemperaError {
  const fault = { loc: ["body", ...loc], msg, type: code, ...(ctx && { ctx }) };
  return new TemperaError(code, msg, { faults: [fault] });
}

/** Decodes a stored file that was uploaded in a content coding. */
async function* decodeUpTo(body: Readable, coding: ContentCoding, bytesMax: number): AsyncGenerator<Buffer> {
  let bytes = 0;
  try {
    for await (const chunk of decodeContent(body as AsyncIterable<Buffer>, coding)) {
      bytes += chunk.length;
      if (bytes > bytesMax) throw new TemperaError("file_too_large");
      yield chunk;
    }
  } catch (error) {
    if (!(error instanceof Undecodable)) throw error;
    throw new TemperaError("file_download_error", `The uploaded file ${error.message}.`, { cause: error });
  }
}

/** Writes a download to a file. `count` sees the size of each chunk and may throw. */
async function save(
  { contentType, body }: Download,
  path: string,
  { count, signal }: { count: (bytes: number) => void; signal: AbortSignal },
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
  const source = Readable.from(counted(), { objectMode: false });
  await pipeline(source, createWriteStream(path, { mode: 0o600 }), { signal }).catch((error) => {
    throw ofDisk(error);
  });
  return { path, contentType, bytes, sha256: hash.digest("hex") };
}

/** Returns an error as that of this worker's disk, when it is full: the request waits until it is not. */
function ofDisk(error: unknown): unknown {
  const remedy = "free space on it, or set TMPDIR to a folder with more";
  return diskFull("GPU worker's disk", error, remedy) ?? error;
}

/** Sets the value at a location of the input. */
function replaceAt(input: JsonObject, loc: (string | number)[], value: string): void {
  let parent: Json = input;
  for (const step of loc.slice(0, -1)) parent = (parent as JsonObject)[step] as Json;
  (parent as JsonObject)[loc.at(-1) as string | number] = value;
}
