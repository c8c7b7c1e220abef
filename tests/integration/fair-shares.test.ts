/** Fairness between owners: one engine slot, an owner with a thousand jobs, and another owner's first job. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const STUB = "tempera/stub";
const SERVICE_MS = 20;
let test: TestPlatform;
let models: string;
beforeAll(async () => {
  models = mkdtempSync(join(tmpdir(), "tempera-models-"));
  cpSync(resolve(import.meta.dirname, `../../models/${STUB}`), join(models, STUB), { recursive: true });
  const manifest = join(models, STUB, "1.0.0/model.yaml");
  writeFileSync(manifest, readFileSync(manifest, "utf8").replace(/^slots: .*$/m, "slots: 1"));
  test = await startTestPlatform({ TEMPERA_MODELS: models });
});
afterAll(async () => {
  await test[Symbol.asyncDispose]();
  rmSync(models, { recursive: true, force: true });
});

const ownerKey = async (owner: string): Promise<string> =>
  (await test.client.admin<{ key: string }>("POST", "/v1/keys", { alias: owner, owner })).key;
const submit = async (key: string, input: object): Promise<string> => {
  const answer = await test.call(`/queue/${STUB}`, {
    method: "POST",
    body: JSON.stringify(input),
    headers: { authorization: `Key ${key}` },
  });
  expect(answer.status).toBe(200);
  return ((await answer.json()) as { request_id: string }).request_id;
};
const submitMany = async (key: string, count: number): Promise<void> => {
  let left = count;
  await Promise.all(
    Array.from({ length: 25 }, async () => {
      while (left-- > 0) await submit(key, { delay_ms: SERVICE_MS });
    }),
  );
};
/** The owners of the jobs that were served since, in the order of their starts. */
const servedSince = async (sinceMs: number): Promise<string[]> =>
  (
    await test.sql<{ owner_id: string }[]>`
      SELECT owner_id FROM requests
      WHERE started_at > ${new Date(sinceMs)} AND outcome IS NOT NULL ORDER BY started_at`
  ).map(({ owner_id }) => owner_id);

/** Occupies the only slot. Returns what frees it. */
const block = async (): Promise<() => Promise<unknown>> => {
  const id = await submit(test.platform.key, { fail: "hang" });
  for await (const { status } of test.client.follow(STUB, id)) if (status === "IN_PROGRESS") break;
  return () => test.client.cancel(STUB, id);
};
/**
 * Resolves when so many jobs wait in the GPU queue: on their way through Temporal they go in the order of
 * arrival.
 */
const queued = (count: number) =>
  expect.poll(() => test.backlog(STUB), { interval: 500 }).toBeGreaterThanOrEqual(count);

it("runs three jobs of an owner of weight 3 for one of another owner", async () => {
  const [heavy, light] = await Promise.all([ownerKey("heavy"), ownerKey("light")]);
  await test.sql`INSERT INTO plans VALUES ('triple', '{"weight": 3}')`;
  await test.sql`INSERT INTO owners (owner_id, plan_id) VALUES ('heavy', 'triple')`;
  const free = await block();
  const before = Date.now();
  await Promise.all([submitMany(heavy, 24), submitMany(light, 24)]);
  await queued(48);
  await free();
  await expect.poll(() => servedSince(before)).toHaveLength(48);
  const heavies = (await servedSince(before)).slice(0, 16).filter((owner) => owner === "heavy").length;
  expect(heavies).toBeGreaterThanOrEqual(11);
  expect(heavies).toBeLessThanOrEqual(13);
});

it("starts another owner's jobs in turn with those of an owner who has a thousand", async () => {
  const [many, few] = await Promise.all([ownerKey("many"), ownerKey("few")]);
  const free = await block();
  const before = Date.now();
  await submitMany(many, 1_000);
  await queued(1_000);
  const ids = await Promise.all([1, 2, 3].map(() => submit(few, { delay_ms: SERVICE_MS })));
  await queued(1_003);
  await free();
  await Promise.all(ids.map(test.record));
  const first = async () => (await servedSince(before)).slice(0, 2 * ids.length + 1);
  await expect.poll(first).toHaveLength(2 * ids.length + 1);
  expect((await first()).filter((owner) => owner === "few")).toHaveLength(ids.length);
});
