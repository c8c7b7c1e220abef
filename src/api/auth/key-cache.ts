import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { FoundKey, KeyStore } from "../../core/owners/key-store.ts";

/** A key as it is remembered. */
export interface RememberedKey {
  key: FoundKey;
  /** Whether its time is over now. */
  expired(): boolean;
}

export interface KeyMemory extends AsyncDisposable {
  /** Rejects with `store_unavailable` when Postgres is away and the key was not seen lately. */
  find(keyId: string): Promise<RememberedKey | undefined>;
  /** Notes that a key was used now; the store is told with the others. */
  used(keyId: string): void;
}

interface Remembered extends RememberedKey {
  /** When the store was asked. */
  atMs: number;
  /** When somebody last asked for it. */
  wantedAtMs: number;
  /** Postgres was away: do not ask again before this moment. */
  retryAtMs?: number;
}

/**
 * What a process knows of the keys that are used here. A key that changed is forgotten as soon as the
 * database says so. Should that word be lost, the keys in use are all looked at again every
 * `LIMITS.keyCheckMs`, with one query, and none is believed for longer than `LIMITS.keyCacheMs`. So asking
 * for a key in use costs no query, and one that was revoked is refused within two seconds whatever happens.
 * While Postgres is away, a key seen in the last `LIMITS.keyStaleMs` still opens: an outage of the store must
 * not stop the queue.
 *
 * @param clock measures ages only; give it one that nobody sets
 */
export async function createKeyMemory({ keys, clock }: { keys: KeyStore; clock: Clock }): Promise<KeyMemory> {
  const known = new Map<string, Remembered>();
  /**
   * Ids that there is no key for, and when that was learned. Apart: whoever tries many must not push out
   * those in use.
   */
  const unknown = new Map<string, number>();
  const asking = new Map<string, Promise<Remembered | undefined>>();
  /** Of each reading under way: what changed meanwhile, so that its answer may be old. */
  const readings = new Set<Set<string>>();
  const uses = new Map<string, number>();

  const stop = await keys.onChange((keyId) => {
    known.delete(keyId);
    unknown.delete(keyId);
    for (const changed of readings) changed.add(keyId);
  });

  const reading = async <T>(
    read: () => Promise<T>,
  ): Promise<{ answer: T; atMs: number; changed: Set<string> }> => {
    const changed = new Set<string>();
    readings.add(changed);
    const atMs = clock.nowMs();
    try {
      return { answer: await read(), atMs, changed };
    } finally {
      readings.delete(changed);
    }
  };

  const remembered = (key: FoundKey, atMs: number, wantedAtMs: number): Remembered => {
    const endsAtMs = key.expiresInMs === undefined ? Number.POSITIVE_INFINITY : atMs + key.expiresInMs;
    return { key, atMs, wantedAtMs, expired: () => clock.nowMs() >= endsAtMs };
  };

  const remember = (entry: Remembered): void => {
    const [oldest] = known.keys();
    if (known.size >= LIMITS.keysRememberedMax && oldest !== undefined && !known.has(entry.key.keyId))
      known.delete(oldest);
    known.set(entry.key.keyId, entry);
  };

  const ask = async (keyId: string, seen: Remembered | undefined): Promise<Remembered | undefined> => {
    try {
      const { answer: key, atMs, changed } = await reading(() => keys.find(keyId));
      const entry = key && remembered(key, atMs, atMs);
      if (changed.has(keyId)) return entry;
      if (entry) remember(entry);
      else {
        known.delete(keyId);
        if (unknown.size >= LIMITS.keysRememberedMax) unknown.clear();
        unknown.set(keyId, atMs);
      }
      return entry;
    } catch (error) {
      if (!seen || clock.nowMs() - seen.atMs >= LIMITS.keyStaleMs) throw error;
      // The store is away: what is known serves at once for a while, instead of after another wait.
      seen.retryAtMs = clock.nowMs() + LIMITS.keyRetryMs;
      return seen;
    }
  };

  let checking = false;
  const check = async (): Promise<void> => {
    const now = clock.nowMs();
    const wanted = [...known.values()]
      .filter(({ wantedAtMs }) => now - wantedAtMs < LIMITS.keyWarmMs)
      .map(({ key }) => key.keyId);
    if (wanted.length === 0 || checking) return;
    checking = true;
    try {
      const { answer, atMs, changed } = await reading(() => keys.findAll(wanted));
      const found = new Map(answer.map((key) => [key.keyId, key]));
      for (const keyId of wanted) {
        const seen = known.get(keyId);
        const key = found.get(keyId);
        if (!seen || changed.has(keyId) || seen.atMs > atMs) continue;
        if (key) known.set(keyId, remembered(key, atMs, seen.wantedAtMs));
        else known.delete(keyId);
      }
    } catch {
      // Whoever needs a key asks for it, and hears what is wrong.
    } finally {
      checking = false;
    }
  };

  const flush = async (): Promise<void> => {
    const now = clock.nowMs();
    const noted = [...uses].map(([keyId, atMs]) => ({ keyId, agoMs: now - atMs }));
    uses.clear();
    // A use that is not noted is not worth a refusal; the next one is noted.
    await keys.recordUses(noted).catch(() => {});
  };
  const timers = [
    setInterval(check, LIMITS.keyCheckMs).unref(),
    setInterval(flush, LIMITS.keyUsesMs).unref(),
  ];

  return {
    async find(keyId) {
      const now = clock.nowMs();
      const seen = known.get(keyId);
      if (seen) {
        seen.wantedAtMs = now;
        if (now - seen.atMs < LIMITS.keyCacheMs) return seen;
        if (seen.retryAtMs !== undefined && now < seen.retryAtMs && now - seen.atMs < LIMITS.keyStaleMs)
          return seen;
      }
      const missingSince = unknown.get(keyId);
      if (missingSince !== undefined && now - missingSince < LIMITS.keyCacheMs) return undefined;
      // Many callers of one key ask once.
      const under = asking.get(keyId);
      if (under) return under;
      if (asking.size >= LIMITS.keyAsksMax)
        throw new TemperaError("store_unavailable", "Too many keys are being looked up; try again.");
      const answer = ask(keyId, seen).finally(() => asking.delete(keyId));
      asking.set(keyId, answer);
      return answer;
    },
    used: (keyId) => void uses.set(keyId, clock.nowMs()),
    async [Symbol.asyncDispose]() {
      for (const timer of timers) clearInterval(timer);
      await stop();
      await flush();
    },
  };
}
