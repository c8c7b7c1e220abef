import { expect, it } from "vitest";
import { createKeyHashes } from "../api/auth/key-hashes.ts";
import type { Key } from "../core/owners/key.ts";
import { ensureAdminKey } from "./admin.ts";

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
