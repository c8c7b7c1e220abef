/** Fairness between owners: one engine slot, an owner with a thousand jobs, and another owner's first job. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const STUB = "tempera/stub";
/** Long compared to the platform's own overhead on a loaded machine. */
const SERVICE_MS = 1_000;
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
const submit = async (key: string, delayMs: number): Promise<string> => {
  const answer = await test.call(`/queue/${STUB}`, {
    method: "POST",
    body: JSON.stringify({ delay_ms: delayMs }),
    headers: { authorization: `Key ${key}` },
  });
  expect(answer.status).toBe(200);
  return ((await answer.json()) as { request_id: string }).request_id;
};
const submitMany = async (key: string, count: number, delayMs: number): Promise<void> => {
  let left = count;
  await Promise.all(
    Array.from({ length: 25 }, async () => {
      while (left-- > 0) await submit(key, delayMs);
    }),
  );
};
const startedAfterMs = async (requestId: string): Promise<number> => {
  const { startedAtMs = Number.NaN, submittedAtMs } = (await test.record(requestId)) ?? { submittedAtMs: 0 };
  return startedAtMs - submittedAtMs;
};
/** The owners of the jobs that were served since, in the order of their starts. */
const servedSince = async (sinceMs: number): Promise<string[]> =>
  (
    await test.sql<{ owner_id: string }[]>`
      SELECT owner_id FROM requests
      WHERE started_at > ${new Date(sinceMs)} AND outcome IS NOT NULL ORDER BY started_at`
  ).map(({ owner_id }) => owner_id);

it("runs three jobs of an owner of weight 3 for one of another owner", { timeout: 120_000 }, async () => {
  const [heavy, light] = await Promise.all([ownerKey("heavy"), ownerKey("light")]);
  await test.sql`INSERT INTO plans VALUES ('triple', '{"weight": 3}')`;
  await test.sql`INSERT INTO owners (owner_id, plan_id) VALUES ('heavy', 'triple')`;
  const before = Date.now();
  await Promise.all([submitMany(heavy, 24, 200), submitMany(light, 24, 200)]);
  await expect
    .poll(async () => (await servedSince(before)).filter((owner) => owner === "heavy").length, {
      timeout: 60_000,
    })
    .toBeGreaterThan(12);
  const served = await servedSince(before);
  const [heavies, lights] = ["heavy", "light"].map(
    (name) => served.filter((owner) => owner === name).length,
  ) as [number, number];
  expect(heavies / lights).toBeGreaterThan(2);
  expect(heavies / lights).toBeLessThan(4.5);
  await expect.poll(async () => (await servedSince(before)).length, { timeout: 60_000 }).toBe(48);
});

it("delays another owner's first job by no more than two service times", { timeout: 180_000 }, async () => {
  const [many, few] = await Promise.all([ownerKey("many"), ownerKey("few")]);
  const before = Date.now();
  await submitMany(many, 1_000, SERVICE_MS);
  // All of them are in the GPU queue; on their way through Temporal jobs are taken in the order of arrival.
  const inQueue = async () => (await test.backlog(STUB)) + (await servedSince(before)).length;
  await expect.poll(inQueue, { timeout: 90_000, interval: 500 }).toBeGreaterThanOrEqual(999);
  for (let i = 0; i < 3; i++)
    expect(await startedAfterMs(await submit(few, SERVICE_MS))).toBeLessThan(2 * SERVICE_MS);
});
