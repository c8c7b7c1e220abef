import { createHash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import { steadyClock } from "../../core/operations/clock.ts";
import type { Key } from "../../core/owners/key.ts";
import type { KeyPermissions } from "../../core/owners/key-permissions.ts";
import type { FoundKey, KeyStore } from "../../core/owners/key-store.ts";
import type { Call } from "./call.ts";
import { createKeyHashes } from "./key-hashes.ts";
import { createKeyRing, type KeyRing } from "./key-ring.ts";

/** A call that changes something, from an address of documentation. */
const CALL: Call = { remoteAddress: "192.0.2.1", forwardedFor: undefined, writes: true };
const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** Keys in memory, with a switch for an outage and counts of the reads, by the tests' clock. */
function createKeyStore() {
  const keys = new Map<string, Key>();
  const listeners = new Set<(keyId: string) => void>();
  const state = { away: false, reads: 0, checks: 0, rehashes: 0, uses: new Map<string, number>() };
  const changed = (keyId: string): void => listeners.forEach((listener) => void listener(keyId));
  const found = (key: Key | undefined): FoundKey | undefined =>
    key && { ...key, ...(key.expiresAtMs !== undefined && { expiresInMs: key.expiresAtMs - now }) };
  const store: KeyStore = {
    async insert(key) {
      keys.set(key.keyId, key);
      changed(key.keyId);
    },
    async find(keyId) {
      state.reads += 1;
      if (state.away) throw new TemperaError("store_unavailable");
      return found(keys.get(keyId));
    },
    async findAll(keyIds) {
      state.checks += 1;
      if (state.away) throw new TemperaError("store_unavailable");
      return keyIds.flatMap((keyId) => found(keys.get(keyId)) ?? []);
    },
    list: async () => [...keys.values()],
    async change(keyId, { readOnly }) {
      const key = keys.get(keyId);
      if (!key || key.revokedAtMs !== undefined) return undefined;
      keys.set(keyId, { ...key, permissions: readOnly ? { readOnly } : {} });
      changed(keyId);
      return found(keys.get(keyId));
    },
    async revoke(keyId, atMs) {
      const key = keys.get(keyId);
      if (!key || key.revokedAtMs !== undefined) return false;
      keys.set(keyId, { ...key, revokedAtMs: atMs });
      changed(keyId);
      return true;
    },
    async rehash(keyId, before, { secretSha256, pepperId }) {
      state.rehashes += 1;
      const key = keys.get(keyId);
      if (key?.secretSha256 !== before.secretSha256) return;
      keys.set(keyId, { ...key, secretSha256, ...(pepperId !== undefined && { pepperId }) });
      changed(keyId);
    },
    async recordUses(uses) {
      for (const { keyId, agoMs } of uses) state.uses.set(keyId, now - agoMs);
    },
    async onChange(listener) {
      listeners.add(listener);
      return async () => void listeners.delete(listener);
    },
  };
  return { ...store, state, listeners, keys };
}

const SECRET = "5".repeat(64);
const ID = "6f1c2b3a-0000-4000-8000-00000000000a";
const HEADER = `Key ${ID}:${SECRET}`;
const OLD_PEPPER = "a pepper of last year";
const hashes = createKeyHashes(["a pepper of today", OLD_PEPPER]);
const KEY: Key = {
  keyId: ID,
  ownerId: "ann",
  alias: "a",
  scope: "API",
  createdAtMs: 0,
  ...hashes.digest(SECRET),
};
const PLAIN: Key = { ...KEY, secretSha256: createHash("sha256").update(SECRET).digest("hex") };
delete PLAIN.pepperId;

let store: ReturnType<typeof createKeyStore>;
let now: number;
let ring: KeyRing & AsyncDisposable;
beforeEach(async () => {
  vi.useFakeTimers();
  store = createKeyStore();
  now = 1_000_000;
  ring = await createKeyRing({ keys: store, clock: { nowMs: () => now }, hashes, log: silent });
  await store.insert(KEY);
});
afterEach(async () => {
  await ring[Symbol.asyncDispose]();
  vi.useRealTimers();
});
/** Lets time pass, for the clock and for the timers. */
const pass = async (ms: number): Promise<void> => {
  now += ms;
  await vi.advanceTimersByTimeAsync(ms);
};
const refused = (header: string | undefined) =>
  ring.authenticate(header, CALL).then(
    () => "accepted",
    (error: { code: string }) => error.code,
  );

describe("a key", () => {
  it("authenticates its owner, in its scope", async () =>
    expect(await ring.authenticate(HEADER, CALL)).toEqual({ ownerId: "ann", keyId: ID, scope: "API" }));

  it("is read again when its entry is too old", async () => {
    for (let n = 0; n < 5; n++) await ring.authenticate(HEADER, CALL);
    expect(store.state.reads).toBe(1);
    now += LIMITS.keyCacheMs; // and no timer ran
    await ring.authenticate(HEADER, CALL);
    expect(store.state.reads).toBe(2);
  });

  it.each([
    ["another secret", `Key ${ID}:${"6".repeat(64)}`],
    ["a part of the secret", `Key ${ID}:${SECRET.slice(1)}`],
    ["the stored digest", `Key ${ID}:${KEY.secretSha256}`],
    ["another id", `Key ${ID.replace("a", "b")}:${SECRET}`],
  ])("is refused with %s", async (_name, header) => expect(await refused(header)).toBe("key_unknown"));

  it("is refused as missing or malformed without a read of the store", async () => {
    expect(await refused(undefined)).toBe("key_missing");
    expect(await refused("Key nonsense")).toBe("key_malformed");
    expect(store.state.reads).toBe(0);
  });

  it("with a broken digest in the store authenticates nobody", async () => {
    await store.insert({ ...KEY, secretSha256: "" });
    expect(await refused(HEADER)).toBe("key_unknown");
  });

  it("in use is read once by itself, and with all others from then on, however long it is used", async () => {
    for (let n = 0; n < 100; n++) {
      await ring.authenticate(HEADER, CALL);
      await pass(100);
    }
    expect(store.state.reads).toBe(1);
    expect(store.state.checks).toBe(10_000 / LIMITS.keyCheckMs);
  });

  it("that nobody uses any more is not read for ever", async () => {
    await ring.authenticate(HEADER, CALL);
    await pass(LIMITS.keyWarmMs + LIMITS.keyCheckMs);
    const { checks } = store.state;
    await pass(10 * LIMITS.keyCheckMs);
    expect(store.state.checks).toBe(checks);
  });

  it("is recorded as used together with others, not at once", async () => {
    await pass(1_000);
    await ring.authenticate(HEADER, CALL);
    const usedAtMs = now;
    expect(store.state.uses.size).toBe(0);
    await refused(`Key ${ID}:wrong`);
    await pass(LIMITS.keyUsesMs);
    expect(Math.abs((store.state.uses.get(ID) ?? 0) - usedAtMs)).toBeLessThanOrEqual(LIMITS.keyUsesMs);
    await ring.authenticate(HEADER, CALL);
    await ring[Symbol.asyncDispose]();
    expect(store.state.uses.get(ID)).toBe(now);
  });
});

describe("a key that expires", () => {
  it("is accepted until then, by the store's clock; only its holder learns of its end", async () => {
    await store.insert({ ...KEY, expiresAtMs: now + 10_000 });
    expect(await refused(HEADER)).toBe("accepted");
    await pass(9_999);
    expect(await refused(HEADER)).toBe("accepted");
    await pass(1);
    expect(await refused(HEADER)).toBe("key_expired");
    expect(await refused(`Key ${ID}:wrong`)).toBe("key_unknown");
    expect(await ring.recall(ID, CALL)).toBeUndefined();
  });

  it("expires although the store is unavailable", async () => {
    await store.insert({ ...KEY, expiresAtMs: now + 10_000 });
    await ring.authenticate(HEADER, CALL);
    store.state.away = true;
    await pass(10_000);
    expect(await refused(HEADER)).toBe("key_expired");
  });

  it.each([-400 * 86_400_000, 400 * 86_400_000])(
    "is not moved by a clock that jumps by %d ms, and neither is a revocation",
    async (jump) => {
      const day = new Date();
      const own = await createKeyRing({ keys: store, clock: steadyClock, hashes, log: silent });
      await store.insert({ ...KEY, expiresAtMs: now + 60_000 });
      const opens = () =>
        own.authenticate(HEADER, CALL).then(
          () => "accepted",
          (error: { code: string }) => error.code,
        );
      expect(await opens()).toBe("accepted");
      vi.setSystemTime(new Date(day.getTime() + jump));
      expect(await opens()).toBe("accepted");
      store.listeners.clear();
      await store.revoke(ID, now);
      await vi.advanceTimersByTimeAsync(2_000);
      expect(await opens()).toBe("key_unknown");
      await own[Symbol.asyncDispose]();
    },
  );
});

it("leaves no timer behind when the store cannot be listened to", async () => {
  vi.useFakeTimers();
  const deaf: KeyStore = { ...store, onChange: () => Promise.reject(new TemperaError("store_unavailable")) };
  const timers = vi.getTimerCount();
  await expect(createKeyRing({ keys: deaf, clock: steadyClock, hashes, log: silent })).rejects.toMatchObject({
    code: "store_unavailable",
  });
  expect(vi.getTimerCount()).toBe(timers);
});

describe("a key that was stored in an older way", () => {
  it.each([
    ["as plain SHA-256", PLAIN],
    ["with an older pepper", { ...KEY, ...createKeyHashes([OLD_PEPPER]).digest(SECRET) }],
  ])("%s is accepted, and is stored in today's way when it is used, not before", async (_, old) => {
    await store.insert(old);
    expect(await refused(`Key ${ID}:wrong`)).toBe("key_unknown");
    expect(store.keys.get(ID)).toEqual(old);
    expect(await refused(HEADER)).toBe("accepted");
    expect(store.keys.get(ID)).toEqual(KEY);
    expect(await refused(HEADER)).toBe("accepted");
    expect(store.state.rehashes).toBe(1);
  });

  it("does not alternate between gateways that have the peppers in another order", async () => {
    const other = await createKeyRing({
      keys: store,
      clock: { nowMs: () => now },
      hashes: createKeyHashes([OLD_PEPPER, "a pepper of today"]),
      log: silent,
    });
    for (let n = 0; n < 50; n++) {
      await ring.authenticate(HEADER, CALL);
      await other.authenticate(HEADER, CALL);
    }
    expect(store.state.rehashes).toBeLessThanOrEqual(2);
    await other[Symbol.asyncDispose]();
  });

  it("with a pepper that this process lacks is refused as such, not as unknown", async () => {
    await store.insert({ ...KEY, ...createKeyHashes(["a pepper that was lost"]).digest(SECRET) });
    await expect(ring.authenticate(HEADER, CALL)).rejects.toMatchObject({
      code: "key_pepper_missing",
      message: expect.stringMatching(/with the pepper [0-9a-f]{8}, .*TEMPERA_KEY_PEPPER/),
    });
  });
});

describe("a revoked key", () => {
  it("is refused at once where the announcement arrives", async () => {
    await ring.authenticate(HEADER, CALL);
    await store.revoke(ID, now);
    expect(await refused(HEADER)).toBe("key_unknown");
  });

  it.each([0, 300, 600, 900])(
    "is refused within two seconds where it does not, revoked %d ms after a read and used all the time",
    async (ms) => {
      await ring.authenticate(HEADER, CALL);
      await pass(5 * LIMITS.keyCheckMs + ms);
      store.listeners.clear();
      await store.revoke(ID, now);
      const revokedAtMs = now;
      while ((await refused(HEADER)) === "accepted") await pass(50);
      expect(now - revokedAtMs).toBeLessThan(2_000);
    },
  );

  it("is not kept from a read that was under way when it was revoked", async () => {
    let answer: ((key: FoundKey) => void) | undefined;
    const slow = { ...store, find: () => new Promise<FoundKey>((resolve) => (answer = resolve)) };
    const own = await createKeyRing({ keys: slow, clock: { nowMs: () => now }, hashes, log: silent });
    const first = own.authenticate(HEADER, CALL);
    await store.revoke(ID, now);
    answer?.(KEY);
    await first; // its read began before the revocation
    const second = own.authenticate(HEADER, CALL);
    answer?.({ ...KEY, revokedAtMs: now });
    await expect(second).rejects.toMatchObject({ code: "key_unknown" });
    await own[Symbol.asyncDispose]();
  });

  it("stays refused while the store is unavailable", async () => {
    await store.revoke(ID, now);
    expect(await refused(HEADER)).toBe("key_unknown");
    store.state.away = true;
    now += LIMITS.keyCacheMs;
    expect(await refused(HEADER)).toBe("key_unknown");
  });
});

describe("a key that was made a moment ago", () => {
  it("is accepted although it was looked up before it existed", async () => {
    const header = HEADER.replace("a:", "b:");
    expect(await refused(header)).toBe("key_unknown");
    await store.insert({ ...KEY, keyId: ID.replace(/a$/, "b") });
    expect(await refused(header)).toBe("accepted");
  });
});

describe("while the store is unavailable", () => {
  it("accepts a key that was read lately, with its secret only", async () => {
    await ring.authenticate(HEADER, CALL);
    store.state.away = true;
    now += LIMITS.keyStaleMs - 1;
    expect(await refused(HEADER)).toBe("accepted");
    expect(await refused(`Key ${ID}:wrong`)).toBe("key_unknown");
    now += 1;
    expect(await refused(HEADER)).toBe("store_unavailable");
  });

  it("does not call a key unknown that was never read", async () => {
    store.state.away = true;
    expect(await refused(HEADER)).toBe("store_unavailable");
  });
});

it("stops listening and reading when it is disposed", async () => {
  await ring.authenticate(HEADER, CALL);
  expect(store.listeners.size).toBe(1);
  await ring[Symbol.asyncDispose]();
  expect(store.listeners.size).toBe(0);
  expect(vi.getTimerCount()).toBe(0);
});

it("keeps the keys in use while ten thousand others a second are tried, in bounded memory", async () => {
  const id = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, "0")}`;
  await ring.authenticate(HEADER, CALL);
  const attempt = async (from: number): Promise<void> => {
    for (let n = from; n < from + 10_000; n++) await refused(`Key ${id(n)}:x`);
    await pass(1_000);
    await ring.authenticate(HEADER, CALL);
  };
  await attempt(0);
  global.gc?.();
  const before = process.memoryUsage().heapUsed;
  for (let second = 1; second < 6; second++) await attempt(second * 10_000);
  global.gc?.();
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(64 * 1024 * 1024);
  expect(store.state.reads).toBe(1 + 60_000); // each tried key once, the one in use never again
});

it("evicts the least recently used key when more are in use than it keeps", async () => {
  const id = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, "0")}`;
  for (let n = 0; n <= LIMITS.keysCachedMax; n++) {
    store.keys.set(id(n), { ...KEY, keyId: id(n) });
    await ring.recall(id(n), CALL);
  }
  const { reads } = store.state;
  await ring.recall(id(1), CALL);
  expect(store.state.reads).toBe(reads);
  await ring.recall(id(0), CALL);
  expect(store.state.reads).toBe(reads + 1);
});

it("evicts it also after all keys in use were read again", async () => {
  const id = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, "0")}`;
  for (let n = 0; n <= LIMITS.keysCachedMax; n++) {
    store.keys.set(id(n), { ...KEY, keyId: id(n) });
    if (n === LIMITS.keysCachedMax) await pass(LIMITS.keyCheckMs);
    await ring.recall(id(n), CALL);
  }
  expect(store.state.checks).toBeGreaterThan(0);
  const { reads } = store.state;
  await ring.recall(id(LIMITS.keysCachedMax - 1), CALL);
  expect(store.state.reads).toBe(reads);
  await ring.recall(id(0), CALL);
  expect(store.state.reads).toBe(reads + 1);
});

it("rejects with store_unavailable when too many look-ups run at once", async () => {
  const never = { ...store, find: () => new Promise<never>(() => {}) };
  const own = await createKeyRing({ keys: never, clock: { nowMs: () => now }, hashes, log: silent });
  for (let n = 0; n < LIMITS.keyLookupsMax; n++) void own.recall(`key ${n}`, CALL);
  await expect(own.recall("one more", CALL)).rejects.toMatchObject({ code: "store_unavailable" });
  await own[Symbol.asyncDispose]();
});

describe("a key that may do less than its scope allows", () => {
  const narrowed = (permissions: KeyPermissions) => store.insert({ ...KEY, permissions });
  const outcome = (call: Partial<Call>, header = HEADER, own: KeyRing = ring) =>
    own.authenticate(header, { ...CALL, ...call }).then(
      () => "accepted",
      ({ code, message }: TemperaError) => `${code}: ${message}`,
    );

  it("is refused outside its addresses, whatever it calls, and by a wrong secret as any other", async () => {
    await narrowed({ addresses: ["192.0.2.0/24", "2001:db8::/48"], readOnly: true });
    const refusal = "key_address_forbidden: This key may not be used from this address.";
    for (const remoteAddress of ["198.51.100.1", "2001:db8:1::1", "::ffff:198.51.100.1", "", undefined, "x"])
      expect(await outcome({ remoteAddress })).toBe(refusal);
    expect(await outcome({ remoteAddress: "198.51.100.1" }, `Key ${ID}:wrong`)).toMatch(/^key_unknown: /);
    for (const remoteAddress of ["192.0.2.200", "::ffff:192.0.2.9", "2001:db8:0:5::1"])
      expect(await outcome({ remoteAddress, writes: false })).toBe("accepted");
  });

  it("is not told that it has expired, nor counted as used, outside its addresses", async () => {
    await store.insert({ ...KEY, expiresAtMs: now - 1, permissions: { addresses: ["10.0.0.0/8"] } });
    expect(await outcome({})).toMatch(/^key_address_forbidden/);
    await ring[Symbol.asyncDispose]();
    expect(store.state.uses.size).toBe(0);
  });

  it("has the address that a trusted proxy added last, and no word of its caller counts", async () => {
    await narrowed({ addresses: ["192.0.2.1"] });
    const inside = { remoteAddress: "192.0.2.1", forwardedFor: "192.0.2.1, 198.51.100.1" };
    const outside = { remoteAddress: "198.51.100.1", forwardedFor: "198.51.100.1, 192.0.2.1" };
    expect([await outcome(inside), await outcome(outside)]).toEqual([
      "accepted",
      expect.stringMatching(/^key_address_forbidden/),
    ]);
    await using proxied = await createKeyRing({
      keys: store,
      clock: steadyClock,
      hashes,
      log: silent,
      trustProxy: true,
    });
    expect([await outcome(inside, HEADER, proxied), await outcome(outside, HEADER, proxied)]).toEqual([
      expect.stringMatching(/^key_address_forbidden/),
      "accepted",
    ]);
  });

  it("reads, and does not write, also where a token recalls it", async () => {
    await narrowed({ readOnly: true });
    expect(await outcome({})).toBe("key_read_only: This key is for reading only.");
    expect(await outcome({ writes: false })).toBe("accepted");
    await expect(ring.recall(ID, CALL)).rejects.toMatchObject({ code: "key_read_only" });
    expect(await ring.recall(ID, { ...CALL, writes: false })).toMatchObject({ keyId: ID });
  });

  it("is narrowed as soon as the store announces it, else at the next check", async () => {
    expect(await outcome({})).toBe("accepted");
    await store.change(ID, { readOnly: true });
    expect(await outcome({})).toMatch(/^key_read_only/);
    store.keys.set(ID, KEY);
    await pass(LIMITS.keyCheckMs);
    expect(await outcome({})).toBe("accepted");
  });
});
