import { LRUCache } from "lru-cache";
import { type Clock, steadyClock } from "../operations/clock.ts";

/** An answer from before, offered to `onReadError`. */
export interface LastRead<V> {
  value: V;
  /** Milliseconds since the successful read began that gave it. */
  ageMs: number;
  /** An invalidation came after that read: the value is known to be old. */
  invalidated: boolean;
}

export interface InvalidatedCacheOptions<K, V> {
  /**
   * Reads a value from its store. A value of `undefined` is handed on and not kept.
   *
   * @param last the value that the new one replaces, for readers that can reuse parts of it
   */
  read(key: K, last: V | undefined): Promise<V>;
  /** A value is read again once its read began longer ago than this, in case a notification was lost. */
  ttlMs: number;
  /** Values kept at most; the least recently used one is evicted first. */
  entriesMax: number;
  /**
   * An expired value is served while a new one is read in the background. An invalidated one never is.
   *
   * @default false
   */
  staleWhileRevalidate?: boolean;
  /** Returns a value to serve for `retryAfterMs` in place of a failed read, or throws. @default it throws */
  onReadError?(error: unknown, last: LastRead<V> | undefined): V;
  /** @default ttlMs */
  retryAfterMs?: number;
  /** Measures ages only. @default steadyClock */
  clock?: Clock;
}

interface Entry<V> {
  value: V;
  readAtMs: number;
  expiresAtMs: number;
  invalidated: boolean;
}

/** A read under way. */
interface Read<V> {
  value: Promise<V>;
  /** An invalidation came since it began. */
  invalidated: boolean;
}

/**
 * A read-through cache of values that another process may change, for stores that announce their changes.
 *
 * - Callers of one key share one read.
 * - The owner subscribes to the store's announcements and calls `invalidate` for each. A caller that comes
 *   after an invalidation never gets a value from before it, unless `onReadError` decides so.
 * - The answer of a read during which an invalidation came may be old: those who waited for it get it, and it
 *   is not kept.
 */
export class InvalidatedCache<K extends {}, V> {
  readonly #options: InvalidatedCacheOptions<K, V>;
  readonly #clock: Clock;
  readonly #entries: LRUCache<K, Entry<V>>;
  readonly #reads = new Map<K, Read<V>>();

  constructor(options: InvalidatedCacheOptions<K, V>) {
    this.#options = options;
    this.#clock = options.clock ?? steadyClock;
    this.#entries = new LRUCache({ max: options.entriesMax });
  }

  /** Rejects as `read` does, unless `onReadError` has a value to serve instead. */
  async get(key: K): Promise<V> {
    const entry = this.#entries.get(key);
    if (entry && !entry.invalidated) {
      if (this.#clock.nowMs() < entry.expiresAtMs) return entry.value;
      if (this.#options.staleWhileRevalidate) {
        this.#read(key, entry).catch(() => {});
        return entry.value;
      }
    }
    return this.#read(key, entry);
  }

  /** Notes that the value of `key` has changed in its store; without a key, that any value may have. */
  invalidate(key?: K): void {
    if (key === undefined) this.invalidateWhere(() => true);
    else this.#invalidate(key);
  }

  /** Notes that the values of all keys that `matches` accepts have changed in their store. */
  invalidateWhere(matches: (key: K) => boolean): void {
    for (const key of new Set([...this.#reads.keys(), ...this.#entries.keys()]))
      if (matches(key)) this.#invalidate(key);
  }

  #invalidate(key: K): void {
    const read = this.#reads.get(key);
    if (read) read.invalidated = true;
    // Callers that come from now on do not join it.
    this.#reads.delete(key);
    const entry = this.#entries.peek(key);
    if (entry) entry.invalidated = true;
  }

  #read(key: K, entry: Entry<V> | undefined): Promise<V> {
    const underWay = this.#reads.get(key);
    if (underWay) return underWay.value;
    const isCurrent = () => !read.invalidated;
    const read: Read<V> = {
      invalidated: false,
      value: Promise.resolve().then(() => this.#load(key, entry, isCurrent)),
    };
    read.value = read.value.finally(() => {
      if (this.#reads.get(key) === read) this.#reads.delete(key);
    });
    this.#reads.set(key, read);
    return read.value;
  }

  async #load(key: K, entry: Entry<V> | undefined, isCurrent: () => boolean): Promise<V> {
    const { read, onReadError, ttlMs, retryAfterMs = ttlMs } = this.#options;
    const readAtMs = this.#clock.nowMs();
    try {
      const value = await read(key, entry?.value);
      if (!isCurrent()) return value;
      if (value === undefined) this.#entries.delete(key);
      else this.#entries.set(key, { value, readAtMs, expiresAtMs: readAtMs + ttlMs, invalidated: false });
      return value;
    } catch (error) {
      if (!onReadError) throw error;
      const nowMs = this.#clock.nowMs();
      const last = entry && {
        value: entry.value,
        ageMs: nowMs - entry.readAtMs,
        invalidated: entry.invalidated,
      };
      const value = onReadError(error, last);
      if (isCurrent())
        this.#entries.set(key, {
          value,
          readAtMs: entry?.readAtMs ?? Number.NEGATIVE_INFINITY,
          expiresAtMs: nowMs + retryAfterMs,
          invalidated: false,
        });
      return value;
    }
  }
}
