import { createHash } from "node:crypto";
import { beforeEach, describe, expect, it } from "vitest";
import { TemperaError } from "../core/errors/tempera-error.ts";
import type { Key } from "../core/key.ts";
import { LIMITS } from "../core/limits.ts";
import type { KeyStore } from "../core/ports/key-store.ts";
import { createKeyRing, type KeyRing } from "./key-ring.ts";

/** Keys in memory, with a switch for an outage and a count of the reads. */
function createKeyStore() {
  const keys = new Map<string, Key>();
  const listeners = new Set<(keyId: string) => void>();
  const state = { away: false, reads: 0 };
  const changed = (keyId: string): void => listeners.forEach((listener) => void listener(keyId));
  const store: KeyStore = {
    async insert(key) {
      keys.set(key.keyId, key);
      changed(key.keyId);
    },
    async find(keyId) {
      state.reads += 1;
      if (state.away) throw new TemperaError("store_unavailable");
      return keys.get(keyId);
    },
    list: async () => [...keys.values()],
    async revoke(keyId, atMs) {
      const key = keys.get(keyId);
      if (!key || key.revokedAtMs !== undefined) return false;
      keys.set(keyId, { ...key, revokedAtMs: atMs });
      changed(keyId);
      return true;
    },
    async onChange(listener) {
      listeners.add(listener);
      return async () => void listeners.delete(listener);
    },
  };
  return { ...store, state, listeners };
}

const SECRET = "5".repeat(64);
const ID = "6f1c2b3a-0000-4000-8000-00000000000a";
const HEADER = `Key ${ID}:${SECRET}`;
const KEY: Key = {
  keyId: ID,
  ownerId: "ann",
  alias: "a",
  scope: "API",
  secretSha256: createHash("sha256").update(SECRET).digest("hex"),
  createdAtMs: 0,
};

let store: ReturnType<typeof createKeyStore>;
let now: number;
let ring: KeyRing & AsyncDisposable;
beforeEach(async () => {
  store = createKeyStore();
  now = 1_000_000;
  ring = await createKeyRing({ keys: store, clock: { nowMs: () => now } });
  await store.insert(KEY);
});
const refused = (header: string | undefined) =>
  ring.authenticate(header).then(
    () => "accepted",
    (error: { code: string }) => error.code,
  );

describe("a key", () => {
  it("opens for its owner, in its scope", async () =>
    expect(await ring.authenticate(HEADER)).toEqual({ ownerId: "ann", keyId: ID, scope: "API" }));

  it("is asked for once while it is remembered", async () => {
    for (let n = 0; n < 5; n++) await ring.authenticate(HEADER);
    expect(store.state.reads).toBe(1);
    now += LIMITS.keyCacheMs;
    await ring.authenticate(HEADER);
    expect(store.state.reads).toBe(2);
  });

  it.each([
    ["another secret", `Key ${ID}:${"6".repeat(64)}`],
    ["a part of the secret", `Key ${ID}:${SECRET.slice(1)}`],
    ["the stored digest", `Key ${ID}:${KEY.secretSha256}`],
    ["another id", `Key ${ID.replace("a", "b")}:${SECRET}`],
  ])("does not open with %s", async (_name, header) => expect(await refused(header)).toBe("key_unknown"));

  it("is told apart when it is missing or malformed, without asking the store", async () => {
    expect(await refused(undefined)).toBe("key_missing");
    expect(await refused("Key nonsense")).toBe("key_malformed");
    expect(store.state.reads).toBe(0);
  });

  it("with a broken digest in the store opens for nobody", async () => {
    await store.insert({ ...KEY, secretSha256: "" });
    expect(await refused(HEADER)).toBe("key_unknown");
  });
});

describe("a revoked key", () => {
  it("is refused at once where the store's word arrives", async () => {
    await ring.authenticate(HEADER);
    await store.revoke(ID, now);
    expect(await refused(HEADER)).toBe("key_unknown");
  });

  it("is refused within seconds where it does not", async () => {
    await ring.authenticate(HEADER);
    store.listeners.clear();
    await store.revoke(ID, now);
    now += LIMITS.keyCacheMs;
    expect(await refused(HEADER)).toBe("key_unknown");
  });

  it("stays refused while the store is away", async () => {
    await store.revoke(ID, now);
    expect(await refused(HEADER)).toBe("key_unknown");
    store.state.away = true;
    now += LIMITS.keyCacheMs;
    expect(await refused(HEADER)).toBe("key_unknown");
  });
});

describe("a key that was made a moment ago", () => {
  it("opens although it was asked for before it was there", async () => {
    const header = HEADER.replace("a:", "b:");
    expect(await refused(header)).toBe("key_unknown");
    await store.insert({ ...KEY, keyId: ID.replace(/a$/, "b") });
    expect(await refused(header)).toBe("accepted");
  });
});

describe("while the store is away", () => {
  it("a key that was seen lately still opens, with its secret only", async () => {
    await ring.authenticate(HEADER);
    store.state.away = true;
    now += LIMITS.keyStaleMs - 1;
    expect(await refused(HEADER)).toBe("accepted");
    expect(await refused(`Key ${ID}:wrong`)).toBe("key_unknown");
    now += 1;
    expect(await refused(HEADER)).toBe("store_unavailable");
  });

  it("a key that was never seen is not called unknown", async () => {
    store.state.away = true;
    expect(await refused(HEADER)).toBe("store_unavailable");
  });
});

it("stops listening when it is disposed", async () => {
  expect(store.listeners.size).toBe(1);
  await ring[Symbol.asyncDispose]();
  expect(store.listeners.size).toBe(0);
});

it("forgets rather than remember without end", async () => {
  const id = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, "0")}`;
  await ring.authenticate(HEADER);
  for (let n = 0; n < LIMITS.keysRememberedMax; n++) await refused(`Key ${id(n)}:x`);
  const { reads } = store.state;
  await ring.authenticate(HEADER);
  expect(store.state.reads).toBe(reads + 1);
});
