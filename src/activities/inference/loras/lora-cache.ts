import { randomUUID } from "node:crypto";
import { link, mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { LRUCache } from "lru-cache";
import { withAbort } from "../../../core/concurrency/with-abort.ts";
import { TemperaError } from "../../../core/errors/tempera-error.ts";
import type { InputFile } from "../../../core/files/input-file.ts";
import type { Entity } from "../../../core/operations/guarded-http.ts";
import { safetensorsFault } from "./safetensors.ts";

/** The file of a source as it was saved, or the news that the source still has the kept one. */
export type FetchedLora = { file: InputFile; entity?: Entity } | "unchanged";

/** The origin of LoRA weights. */
export interface LoraSource {
  /** Names the weights: an address, or the key of an object. */
  name: string;
  /**
   * The weights of this name never change, so they are fetched once. Others are fetched again unless their
   * ETag is still the kept one.
   */
  isImmutable: boolean;
  /**
   * Fetches the weights to `path`, unless the source still has this entity.
   *
   * @param signal aborts when nobody waits for them any more
   */
  fetch(path: string, entity: Entity | undefined, signal: AbortSignal): Promise<FetchedLora>;
}

interface Fetch {
  done: Promise<InputFile>;
  waiting: number;
  abort: AbortController;
}

/** Sources whose digest is kept: a line of text each. */
const SOURCES_MAX = 10_000;
/** Times that weights are fetched again which were evicted before they were linked. */
const TRIES_MAX = 3;

/**
 * LoRA weights on the disk of a GPU worker, by their digest. The least recently used are deleted; a request
 * that uses them has a link of its own.
 */
export class LoraCache {
  readonly #folder: string;
  readonly #files: LRUCache<string, InputFile>;
  readonly #sources = new LRUCache<string, { sha256: string; entity: Entity | undefined }>({
    max: SOURCES_MAX,
  });
  readonly #fetches = new Map<string, Fetch>();

  /** @param bytesMax of all kept weights, at least those of one source */
  constructor({ folder, bytesMax }: { folder: string; bytesMax: number }) {
    this.#folder = folder;
    this.#files = new LRUCache({
      maxSize: bytesMax,
      sizeCalculation: ({ bytes }) => bytes,
      noDisposeOnSet: true,
      dispose: ({ path }) => void rm(path, { force: true }).catch(() => {}),
    });
  }

  /**
   * Puts the weights of a source at `path`. Requests that ask for the same ones at once share a fetch.
   * Rejects as the fetch does, and with `file_download_error` when they have another format than
   * safetensors.
   */
  async provide(source: LoraSource, path: string, signal: AbortSignal): Promise<InputFile> {
    for (let tries = 1; ; tries++) {
      const kept = await this.#get(source, signal);
      try {
        await link(kept.path, path);
        return { ...kept, path };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT" || tries === TRIES_MAX) throw error;
        // Other weights have taken its room in the meantime, or somebody has deleted the file.
        if (this.#files.get(kept.sha256)?.path === kept.path) this.#files.delete(kept.sha256);
      }
    }
  }

  async #get(source: LoraSource, signal: AbortSignal): Promise<InputFile> {
    const known = this.#keptOf(source);
    if (known && source.isImmutable) return known.file;
    const fetch = this.#fetches.get(source.name) ?? this.#begin(source);
    fetch.waiting++;
    try {
      return await withAbort(fetch.done, signal);
    } finally {
      if (--fetch.waiting === 0) {
        // Whoever comes now begins a fetch that is not aborted.
        this.#forget(source.name, fetch);
        fetch.abort.abort(signal.reason);
      }
    }
  }

  #keptOf({ name }: LoraSource): { file: InputFile; entity: Entity | undefined } | undefined {
    const known = this.#sources.get(name);
    const file = known && this.#files.get(known.sha256);
    return file && { file, entity: known.entity };
  }

  #begin(source: LoraSource): Fetch {
    const abort = new AbortController();
    const fetch: Fetch = { done: this.#fetch(source, abort.signal), waiting: 0, abort };
    this.#fetches.set(source.name, fetch);
    // A failure is reported to those who wait.
    fetch.done.catch(() => {}).finally(() => this.#forget(source.name, fetch));
    return fetch;
  }

  #forget(name: string, fetch: Fetch): void {
    if (this.#fetches.get(name) === fetch) this.#fetches.delete(name);
  }

  async #fetch(source: LoraSource, signal: AbortSignal): Promise<InputFile> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const kept = this.#keptOf(source);
    const path = join(this.#folder, `new-${randomUUID()}`);
    try {
      const fetched = await source.fetch(path, kept?.entity, signal);
      if (fetched === "unchanged") {
        if (kept) return kept.file;
        throw new TemperaError("file_download_error", "The host answers that the file has not changed.");
      }
      const { file, entity } = fetched;
      const fault = await safetensorsFault(path, file.bytes);
      if (fault)
        throw new TemperaError("file_download_error", `The file ${fault}; name LoRA weights in that format.`);
      this.#sources.set(source.name, { sha256: file.sha256, entity });
      return this.#files.get(file.sha256) ?? (await this.#keep(file));
    } finally {
      await rm(path, { force: true });
    }
  }

  async #keep(file: InputFile): Promise<InputFile> {
    // A name of its own: the deletion of an earlier file of the same digest may still be under way.
    const kept = { ...file, path: join(this.#folder, `${file.sha256}-${randomUUID()}`) };
    await rename(file.path, kept.path);
    this.#files.set(file.sha256, kept);
    return kept;
  }
}
