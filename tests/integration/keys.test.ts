/** Keys on a whole platform: what the database holds of them, and how soon revoked ones are refused. */
import { createHash } from "node:crypto";
import postgres from "postgres";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createKeyStore } from "../../src/adapters/postgres/owners/key-store.ts";
import { createKeyHashes } from "../../src/api/auth/key-hashes.ts";
import { createKeyRing } from "../../src/api/auth/key-ring.ts";
import { steadyClock } from "../../src/core/operations/clock.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const PEPPER = "a pepper that the database does not hold";

let test: TestPlatform;
let sql: postgres.Sql;
beforeAll(async () => {
  test = await startTestPlatform({ TEMPERA_KEY_PEPPER: PEPPER, TEMPERA_WORKER_MODELS: "tempera/stub" });
  sql = postgres(test.databaseUrl, { max: 2, onnotice: () => {} });
});
afterAll(async () => {
  await sql.end();
  await test[Symbol.asyncDispose]();
});

interface MadeKey {
  key: string;
  key_id: string;
  key_secret: string;
}
const make = (fields: object = {}): Promise<MadeKey> =>
  test.client.admin<MadeKey>("POST", "/v1/keys", { alias: "a key", ...fields });
const use = (key: string): Promise<Response> =>
  fetch(`${test.platform.url}/queue/tempera/stub/requests/0198c3a0-0000-7000-8000-000000000000/status`, {
    headers: { authorization: `Key ${key}` },
  });

it("stores neither the secret nor the pepper in the database", async () => {
  const { key, key_id, key_secret } = await make();
  expect((await use(key)).status).toBe(404);
  const [row] = await sql`SELECT * FROM keys WHERE key_id = ${key_id}`;
  expect(JSON.stringify(row)).not.toContain(key_secret);
  expect(row?.secret_sha256).not.toBe(createHash("sha256").update(key_secret).digest("hex"));
  expect(row?.secret_sha256).toBe(createKeyHashes([PEPPER]).digest(key_secret).secretSha256);
  const listed = await (
    await fetch(`${test.platform.adminUrl}/v1/keys`, {
      headers: { authorization: `Key ${test.platform.key}` },
    })
  ).text();
  expect(listed).toContain(key_id);
  expect(listed).not.toContain(key_secret);
  expect(listed).not.toContain(row?.secret_sha256);
});

it("accepts a key from before peppers, and stores its digest anew when it is used", async () => {
  const secret = "f".repeat(64);
  const keyId = "6f1c2b3a-0000-4000-8000-00000000000f";
  const plain = createHash("sha256").update(secret).digest("hex");
  await sql`INSERT INTO keys (key_id, owner_id, alias, scope, secret_sha256, created_at)
            VALUES (${keyId}, 'old', 'old', 'API', ${plain}, now())`;
  expect((await use(`${keyId}:${secret}`)).status).toBe(404);
  const stored = async () =>
    (await sql`SELECT secret_sha256, pepper_id FROM keys WHERE key_id = ${keyId}`)[0];
  await expect.poll(async () => (await stored())?.pepper_id).not.toBeNull();
  expect((await stored())?.secret_sha256).not.toBe(plain);
  expect((await use(`${keyId}:${secret}`)).status).toBe(404);
});

it("refuses a revoked key at every gateway, without an announcement", async () => {
  const { key, key_id } = await make();
  const other = await createKeyRing({
    keys: createKeyStore(sql),
    clock: steadyClock,
    hashes: createKeyHashes([PEPPER]),
    log: { debug() {}, info() {}, warn() {}, error() {} },
  });
  const acceptsThere = () =>
    other
      .authenticate(`Key ${key}`, { remoteAddress: undefined, forwardedFor: undefined, writes: false })
      .then(
        () => true,
        () => false,
      );
  const acceptsHere = async () => (await use(key)).status === 404;
  const both = async () => (await Promise.all([acceptsHere(), acceptsThere()])).some(Boolean);
  // In use for longer than one check, so that both gateways have it in their caches.
  const warmUntil = performance.now() + 1_300;
  while (performance.now() < warmUntil) expect(await both()).toBe(true);
  await sql`ALTER TABLE keys DISABLE TRIGGER keys_announce`;
  try {
    await sql`UPDATE keys SET revoked_at = now() WHERE key_id = ${key_id}`;
    // Each gateway gets calls until it refuses one: an address that goes on with a wrong key is slowed down.
    for (let [here, there] = [true, true]; here || there; ) {
      [here, there] = await Promise.all([here && acceptsHere(), there && acceptsThere()]);
    }
    expect((await use(key)).status).toBe(401);
  } finally {
    await sql`ALTER TABLE keys ENABLE TRIGGER keys_announce`;
    await other[Symbol.asyncDispose]();
  }
});

it("refuses an expired key as such, and the creation of one that has expired already", async () => {
  const { key, key_id } = await make({ expires_at: new Date(Date.now() + 3_600_000).toISOString() });
  expect((await use(key)).status).toBe(404);
  await sql`UPDATE keys SET expires_at = now() WHERE key_id = ${key_id}`;
  await expect.poll(async () => (await use(key)).status).toBe(401);
  expect(await (await use(key)).text()).toContain("The key has expired.");
  await expect(make({ expires_at: "2020-01-01T00:00:00Z" })).rejects.toThrow(
    /expires_at: Input should be in the future/,
  );
  await expect(make({ expires_at: "soon" })).rejects.toThrow(/expires_at/);
});
