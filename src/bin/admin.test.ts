import { expect, it, vi } from "vitest";
import { createTemporalCalls } from "../adapters/temporal/calls.ts";
import { createKeyHashes } from "../api/auth/key-hashes.ts";
import { loadConfig } from "../config/load-config.ts";
import type { Key } from "../core/owners/key.ts";
import { ensureAdminKey, startAdmin } from "./admin.ts";

vi.mock("../adapters/temporal/calls.ts", () => ({ createTemporalCalls: vi.fn() }));

const CREDENTIAL = `6f1c2b3a-0000-4000-8000-00000000000a:${"s".repeat(64)}`;

it("lets two admin services that start at once use the key that one of them created", async () => {
  const keys = new Map<string, Key>();
  const store = {
    // Both read before either has written.
    find: async (keyId: string) => {
      const found = keys.get(keyId);
      await new Promise(setImmediate);
      return found;
    },
    insert: async (key: Key) => {
      if (keys.has(key.keyId)) throw new Error("duplicate key value violates unique constraint");
      keys.set(key.keyId, key);
    },
  };
  const start = (credential = CREDENTIAL) =>
    ensureAdminKey({ keys: store as never, keyHashes: createKeyHashes(["a pepper"]) }, credential);
  expect(await Promise.all([start(), start()])).toEqual([true, true]);
  expect(await start(CREDENTIAL.replace(/s/g, "t"))).toBe(false);
});

it("ends its one sender of calls to Temporal when it cannot start", async () => {
  const dispose = vi.fn();
  vi.mocked(createTemporalCalls).mockReturnValue({ [Symbol.dispose]: dispose } as never);
  const onChange = async () => async () => {};
  const parts = {
    config: loadConfig({}),
    retention: { ownerTimes: async () => new Map(), onChange },
    keys: { onChange },
    plans: { onChange },
    processHealth: { role: () => ({}) },
    secrets: { secret: () => Promise.reject(new Error("the store is away")) },
  };
  await expect(startAdmin(parts as never)).rejects.toThrow("the store is away");
  expect([vi.mocked(createTemporalCalls).mock.calls.length, dispose.mock.calls.length]).toEqual([1, 1]);
});
