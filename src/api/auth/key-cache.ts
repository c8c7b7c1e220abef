import { LRUCache } from "lru-cache";
import { PeriodicTask } from "../../core/concurrency/periodic-task.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { Log } from "../../core/operations/log.ts";
import type { FoundKey, KeyStore } from "../../core/owners/key-store.ts";

export interface CachedKey {
  key: FoundKey;
  /** Tells whether the key has expired by now. */
  isExpired(): boolean;
}

interface Entry extends CachedKey {
  /** When the read of it began. */
  readAtMs: number;
  /** When a caller last looked it up. */
  wantedAtMs: number;
  /** Postgres was unavailable: no read is tried before this moment. */
  retryAtMs?: number;
}

interface Read<T> {
  result: T;
  /** When the read began. */
  atMs: number;
  /** Ids of the keys that changed while it ran, so that what it says of them may be old. */
  changed: Set<string>;
}

interface KeyCacheParts {
  keys: KeyStore;
  /** Measures ages only: a clock that nobody sets. */
  clock: Clock;
  log: Log;
}

/**
 * The keys that are in use at this process, in memory.
 *
 * - The database announces changes of keys, and a changed key is dropped at once.
 * - In case an announcement is lost, one query reads all keys in use again every `LIMITS.keyCheckMs`, and an
 *   entry is valid for `LIMITS.keyCacheMs`. So a key in use costs no query of its own, and a revoked one is
 *   refused within two seconds in any case.
 * - While Postgres is unavailable, a key read within the last `LIMITS.keyStaleMs` stays valid: an outage of
 *   the store must not stop the queue.
 */
export class KeyCache implements AsyncDisposable {
  readonly #keys: KeyStore;
  readonly #clock: Clock;
  readonly #known = new LRUCache<string, Entry>({ max: LIMITS.keysCachedMax });
  /**
   * Ids without a key, and when that was read. They are kept apart, so that a caller that tries many ids does
   * not evict the keys in use.
   */
  readonly #unknown = new LRUCache<string, number>({ max: LIMITS.keysCachedMax });
  readonly #lookups = new Map<string, Promise<Entry | undefined>>();
  /** The `changed` of each read under way. */
  readonly #reads = new Set<Set<string>>();
  readonly #uses = new Map<string, number>();
  #tasks: PeriodicTask[] = [];
  #stopListening: () => Promise<void> = async () => {};

  private constructor({ keys, clock }: KeyCacheParts) {
    this.#keys = keys;
    this.#clock = clock;
  }

  /** Makes a cache that listens to the store's announcements. Rejects when it cannot listen. */
  static async start(parts: KeyCacheParts): Promise<KeyCache> {
    const { keys, log } = parts;
    const cache = new KeyCache(parts);
    cache.#stopListening = await keys.onChange((keyId) => cache.#drop(keyId));
    // Started last: the timers of a cache that nobody got could not be stopped.
    cache.#tasks = [
      new PeriodicTask(() => cache.#refreshKeysInUse(), {
        everyMs: LIMITS.keyCheckMs,
        description: "checking the keys in use",
        log,
      }),
      new PeriodicTask(() => cache.#recordUses(), {
        everyMs: LIMITS.keyUsesMs,
        description: "recording the use of keys",
        log,
      }),
    ];
    return cache;
  }

  /** Rejects with `store_unavailable` when Postgres cannot be reached and the key was not read lately. */
  async find(keyId: string): Promise<CachedKey | undefined> {
    const nowMs = this.#clock.nowMs();
    const entry = this.#known.get(keyId);
    if (entry) {
      entry.wantedAtMs = nowMs;
      const ageMs = nowMs - entry.readAtMs;
      if (ageMs < LIMITS.keyCacheMs) return entry;
      if (entry.retryAtMs !== undefined && nowMs < entry.retryAtMs && ageMs < LIMITS.keyStaleMs) return entry;
    }
    const missingSinceMs = this.#unknown.get(keyId);
    if (missingSinceMs !== undefined && nowMs - missingSinceMs < LIMITS.keyCacheMs) return undefined;
    return this.#lookUpOnce(keyId, entry);
  }

  /** Notes that a key was used now. The store gets the uses of all keys together, later. */
  noteUse(keyId: string): void {
    this.#uses.set(keyId, this.#clock.nowMs());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#tasks.map((task) => task.stop()));
    await this.#stopListening();
    await this.#recordUses().catch(() => {});
  }

  #drop(keyId: string): void {
    this.#known.delete(keyId);
    this.#unknown.delete(keyId);
    for (const changed of this.#reads) changed.add(keyId);
  }

  /** Callers that look up the same key share one read. */
  #lookUpOnce(keyId: string, entry: Entry | undefined): Promise<Entry | undefined> {
    const underWay = this.#lookups.get(keyId);
    if (underWay) return underWay;
    if (this.#lookups.size >= LIMITS.keyLookupsMax)
      throw new TemperaError("store_unavailable", "Too many keys are being looked up; try again.");
    const lookup = this.#lookUp(keyId, entry).finally(() => this.#lookups.delete(keyId));
    this.#lookups.set(keyId, lookup);
    return lookup;
  }

  async #lookUp(keyId: string, last: Entry | undefined): Promise<Entry | undefined> {
    try {
      const { result: key, atMs, changed } = await this.#read(() => this.#keys.find(keyId));
      const entry = key && this.#entryOf(key, atMs, atMs);
      if (changed.has(keyId)) return entry;
      if (entry) this.#known.set(keyId, entry);
      else {
        this.#known.delete(keyId);
        this.#unknown.set(keyId, atMs);
      }
      return entry;
    } catch (error) {
      if (!last || this.#clock.nowMs() - last.readAtMs >= LIMITS.keyStaleMs) throw error;
      // The store is unavailable: for a while the entry serves at once, instead of after another wait.
      last.retryAtMs = this.#clock.nowMs() + LIMITS.keyRetryMs;
      return last;
    }
  }

  async #refreshKeysInUse(): Promise<void> {
    const nowMs = this.#clock.nowMs();
    // From the least recently used on, since each key that is stored again becomes the most recent.
    const inUse = [...this.#known.values()]
      .reverse()
      .filter(({ wantedAtMs }) => nowMs - wantedAtMs < LIMITS.keyWarmMs)
      .map(({ key }) => key.keyId);
    if (inUse.length === 0) return;
    const { result, atMs, changed } = await this.#read(() => this.#keys.findAll(inUse));
    const found = new Map(result.map((key) => [key.keyId, key]));
    for (const keyId of inUse) {
      const entry = this.#known.peek(keyId);
      const key = found.get(keyId);
      if (!entry || changed.has(keyId) || entry.readAtMs > atMs) continue;
      if (key) this.#known.set(keyId, this.#entryOf(key, atMs, entry.wantedAtMs));
      else this.#known.delete(keyId);
    }
  }

  /** Uses that could not be recorded are dropped: the next use of the key is recorded. */
  async #recordUses(): Promise<void> {
    const nowMs = this.#clock.nowMs();
    const uses = [...this.#uses].map(([keyId, atMs]) => ({ keyId, agoMs: nowMs - atMs }));
    this.#uses.clear();
    await this.#keys.recordUses(uses);
  }

  async #read<T>(read: () => Promise<T>): Promise<Read<T>> {
    const changed = new Set<string>();
    this.#reads.add(changed);
    const atMs = this.#clock.nowMs();
    try {
      return { result: await read(), atMs, changed };
    } finally {
      this.#reads.delete(changed);
    }
  }

  #entryOf(key: FoundKey, readAtMs: number, wantedAtMs: number): Entry {
    const endsAtMs = key.expiresInMs === undefined ? Number.POSITIVE_INFINITY : readAtMs + key.expiresInMs;
    return { key, readAtMs, wantedAtMs, isExpired: () => this.#clock.nowMs() >= endsAtMs };
  }
}
