/** Budgets of stored bytes and files: one owner fills neither the disk nor the tables, however it tries. */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PlanLimits } from "../../src/core/owners/plan.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";
import { newTestOwner, type TestOwner } from "./test-owner.ts";

const STUB = "tempera/stub";
let test: TestPlatform;
let second: Awaited<ReturnType<TestPlatform["gatewayHere"]>>;
let urls: [string, string];
beforeAll(async () => {
  test = await startTestPlatform({ TEMPERA_WORKER_OUTPUT_MIB: "1" });
  second = await test.gatewayHere();
  urls = [test.platform.url, second.url];
});
afterAll(async () => {
  await second[Symbol.asyncDispose]();
  await test[Symbol.asyncDispose]();
});

async function owner(limits: PlanLimits): Promise<TestOwner> {
  const made = await newTestOwner(test);
  await setLimits(made.ownerId, limits);
  return made;
}
const setLimits = (ownerId: string, limits: PlanLimits) =>
  test.sql`INSERT INTO owners (owner_id, allowance)
           VALUES (${ownerId}, ${JSON.stringify(limits)}::text::jsonb)
           ON CONFLICT (owner_id) DO UPDATE SET allowance = excluded.allowance`;
const post = (url: string, { headers }: TestOwner, body: object, more: Record<string, string> = {}) =>
  fetch(url, { method: "POST", body: JSON.stringify(body), headers: { ...headers, ...more } });
const submit = async (by: TestOwner, input: object, more: Record<string, string> = {}): Promise<string> => {
  const answer = await post(`${urls[0]}/queue/${STUB}`, by, input, more);
  expect(answer.status, await answer.clone().text()).toBe(200);
  return ((await answer.json()) as { request_id: string }).request_id;
};
const outcomeOf = async (by: TestOwner, input: object, more: Record<string, string> = {}) => {
  const record = await test.record(await submit(by, input, more));
  return { outcome: record?.outcome, attempts: record?.attempts };
};
const initiate = (by: TestOwner, url = urls[0], path = "initiate") =>
  post(`${url}/rest/storage/upload/${path}`, by, { content_type: "text/plain", file_name: "a.txt" });
const addressOf = async (answer: Response): Promise<string> =>
  ((await answer.json()) as { upload_url: string }).upload_url;
const upload = (by: TestOwner, bytes: number, url = urls[0]) =>
  fetch(`${url}/files/upload`, {
    method: "POST",
    headers: { ...by.headers, "content-type": "text/plain" },
    body: randomUUID().slice(0, 1).repeat(bytes),
  });
const count = (answers: Response[], status: number): number =>
  answers.filter((answer) => answer.status === status).length;
const refusedFor = (limit: string) => ({
  ok: false,
  error: { code: "storage_limit", message: expect.stringContaining(limit) },
});

describe.each([
  ["without a lifetime", {}],
  ["with a lifetime", { "x-fal-object-lifecycle-preference": '{"expiration_duration_seconds": 3600}' }],
])("produced files %s", (_, lifecycle) => {
  it("fill their owner's budget and no more: a job that exceeds it ends, and is not retried", async () => {
    const ann = await owner({ storedBytes: 1_000_000 });
    const bob = await owner({ storedBytes: 1_000_000 });
    for (const seed of [1, 2])
      expect((await outcomeOf(ann, { artifact_bytes: 400_000, seed }, lifecycle)).outcome).toMatchObject({
        ok: true,
      });
    const { outcome, attempts } = await outcomeOf(ann, { artifact_bytes: 400_000, seed: 3 }, lifecycle);
    expect(outcome).toMatchObject(refusedFor("800,000 of 1,000,000 bytes"));
    expect(attempts).toBe(1);
    expect(await test.deadLetters()).toEqual([]);
    // What fits is stored, and another owner has a budget of its own.
    expect((await outcomeOf(ann, { artifact_bytes: 200_000, seed: 4 }, lifecycle)).outcome?.ok).toBe(true);
    expect((await outcomeOf(bob, { artifact_bytes: 400_000, seed: 3 }, lifecycle)).outcome?.ok).toBe(true);
    // Nothing fits any more: the next job is refused before it is accepted.
    for (const path of [`/queue/${STUB}`, `/${STUB}`, `/${STUB}/stream`]) {
      const refusal = async () => {
        const { status, headers } = await post(`${urls[0]}${path}`, ann, {}, lifecycle);
        return [status, headers.get("x-fal-error-type")];
      };
      await expect.poll(refusal).toEqual([413, "storage_limit"]);
    }
  });

  it("of one job have together at most what the operator allows", async () => {
    const ann = await owner({});
    const { outcome, attempts } = await outcomeOf(ann, { artifact_bytes: 2 ** 20 + 1 }, lifecycle);
    expect(outcome).toMatchObject({ ok: false, error: { code: "output_too_large" } });
    expect(attempts).toBe(1);
    expect((await outcomeOf(ann, { artifact_bytes: 2 ** 20 }, lifecycle)).outcome?.ok).toBe(true);
  });

  it("are given back when an operator deletes them", async () => {
    const ann = await owner({ storedBytes: 500_000 });
    const first = await submit(ann, { artifact_bytes: 400_000, seed: 11 }, lifecycle);
    await test.record(first);
    expect((await outcomeOf(ann, { artifact_bytes: 400_000, seed: 12 }, lifecycle)).outcome?.ok).toBe(false);
    await test.client.admin("DELETE", `/v1/models/requests/${first}/payloads`);
    expect((await outcomeOf(ann, { artifact_bytes: 400_000, seed: 12 }, lifecycle)).outcome?.ok).toBe(true);
  });

  it("count once, however often the same file is made", async () => {
    const ann = await owner({ storedBytes: 500_000 });
    const input = { artifact_bytes: 200_000, seed: 21 };
    const made = await Promise.all(Array.from({ length: 2 }, () => outcomeOf(ann, input, lifecycle)));
    expect(made.map(({ outcome }) => outcome?.ok)).toEqual([true, true]);
  });
});

describe("uploaded files", () => {
  it("are counted when they are announced, exactly, over all gateways", async () => {
    const ann = await owner({ storedFiles: 5 });
    const answers = await Promise.all(Array.from({ length: 16 }, (_, n) => initiate(ann, urls[n % 2])));
    expect([count(answers, 200), count(answers, 413)]).toEqual([5, 11]);
    const refused = answers.find(({ status }) => status === 413);
    expect(refused?.headers.get("x-fal-error-type")).toBe("storage_limit");
    expect(await refused?.text()).toContain("5 of 5 files");
    // Every other way to store a file is refused too.
    expect((await initiate(ann, urls[1], "initiate-multipart")).status).toBe(413);
    expect((await upload(ann, 1)).status).toBe(413);
    expect(
      (await fetch(`${urls[0]}/files/upload/multipart`, { method: "POST", headers: ann.headers })).status,
    ).toBe(413);
  });

  it("of two gateways at once store no byte beyond the budget", async () => {
    const ann = await owner({ storedBytes: 100_000 });
    const answers = await Promise.all(Array.from({ length: 16 }, (_, n) => upload(ann, 30_000, urls[n % 2])));
    expect([count(answers, 200), count(answers, 413)]).toEqual([3, 13]);
    const address = await addressOf(await initiate(ann));
    expect((await fetch(address, { method: "PUT", body: "x".repeat(20_000) })).status).toBe(413);
    expect((await fetch(address, { method: "PUT", body: "x".repeat(10_000) })).status).toBe(200);
  });

  it("in parts are counted part by part, before their bytes are stored", async () => {
    const ann = await owner({ storedBytes: 6_000_000 });
    const address = new URL(await addressOf(await initiate(ann, urls[0], "initiate-multipart")));
    const part = (number: number, bytes: number) =>
      fetch(`${address.origin}${address.pathname}/${number}${address.search}`, {
        method: "PUT",
        body: "x".repeat(bytes),
      });
    const first = await part(1, 5_242_880);
    expect(first.status).toBe(200);
    expect((await part(2, 1_000_000)).status).toBe(413);
    const last = await part(2, 700_000);
    const parts = [first, last].map((each, index) => ({
      partNumber: index + 1,
      etag: each.headers.get("etag"),
    }));
    const complete = await fetch(`${address.origin}${address.pathname}/complete${address.search}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ parts }),
    });
    expect(complete.status).toBe(200);
    expect(await stored(ann)).toEqual({ bytes: 5_942_880, files: 1 });
  });

  it("that did not arrive are given back", async () => {
    const ann = await owner({ storedBytes: 100_000 });
    const address = await addressOf(await initiate(ann));
    let leave = (): void => {};
    const body = new ReadableStream({
      start(stream) {
        stream.enqueue(new Uint8Array(10));
        leave = () => stream.error(new Error("the caller leaves"));
      },
    });
    const headers = { "content-length": "90000" };
    const sent = fetch(address, { method: "PUT", body, headers, duplex: "half" } as RequestInit);
    sent.catch(() => {});
    await expect.poll(() => stored(ann)).toEqual({ bytes: 90_000, files: 1 });
    expect((await upload(ann, 90_000)).status).toBe(413);
    leave();
    await expect.poll(() => stored(ann)).toEqual({ bytes: 0, files: 1 });
    expect((await upload(ann, 90_000)).status).toBe(200);
  });

  it("of an owner without a limit are counted for the day it gets one", async () => {
    const ann = await owner({});
    await setLimits(ann.ownerId, { storedBytes: null as never, storedFiles: null as never });
    expect((await upload(ann, 1_000)).status).toBe(200);
    await setLimits(ann.ownerId, { storedBytes: 1_500 });
    expect((await upload(ann, 1_000)).status).toBe(413);
  });
});

/** An input whose JSON has some bytes more than so many. */
const large = (bytes: number, more: object = {}): object => ({ payload: "x".repeat(bytes), ...more });
/** A job with such an input that leaves no output. */
const failing = (bytes: number): object => large(bytes, { fail: "invalid" });

describe("inputs and outputs above 32 KiB", () => {
  it("count for their owner: an input that does not fit is refused, and nothing is queued", async () => {
    const ann = await owner({ storedBytes: 100_000 });
    for (const more of [{}, { "x-fal-store-io": "0" }, { "idempotency-key": randomUUID() }])
      for (const path of [`/queue/${STUB}`, `/${STUB}`, `/${STUB}/stream`]) {
        const answer = await post(`${urls[0]}${path}`, ann, large(100_000), more);
        expect([answer.status, answer.headers.get("x-fal-error-type")]).toEqual([413, "storage_limit"]);
        expect(await answer.text()).toContain("0 of 100,000 bytes");
        expect(await test.workflow(answer.headers.get("x-fal-request-id") ?? "")).toBeUndefined();
      }
    expect(await stored(ann)).toBeUndefined();
    expect((await outcomeOf(ann, failing(60_000))).outcome).toMatchObject({
      error: { code: "input_invalid" },
    });
    expect(await stored(ann)).toMatchObject({ bytes: expect.closeTo(60_000, -3), files: 1 });
    expect((await post(`${urls[0]}/queue/${STUB}`, ann, large(60_000))).status).toBe(413);
    // Another owner has a budget of its own.
    expect((await outcomeOf(await owner({ storedBytes: 100_000 }), failing(60_000))).attempts).toBe(1);
  });

  it("end a job whose output does not fit, which is not retried", async () => {
    const ann = await owner({ storedBytes: 100_000 });
    const { outcome, attempts } = await outcomeOf(ann, large(60_000));
    expect(outcome).toMatchObject(refusedFor("of 100,000 bytes"));
    expect(attempts).toBe(1);
    expect(await test.deadLetters()).toEqual([]);
  });

  it("cost nothing up to 32 KiB, wherever they are kept", async () => {
    const ann = await owner({ storedBytes: 100_000 });
    for (const more of [{}, { "x-fal-store-io": "0" }])
      expect((await outcomeOf(ann, large(30_000), more)).outcome).toMatchObject({ ok: true });
    expect(await stored(ann)).toBeUndefined();
  });

  it("are given back when an operator deletes them", async () => {
    const ann = await owner({ storedBytes: 200_000 });
    const id = await submit(ann, large(60_000));
    await test.record(id);
    expect(await stored(ann)).toMatchObject({ bytes: expect.closeTo(120_000, -3), files: 2 });
    await test.client.admin("DELETE", `/v1/models/requests/${id}/payloads`);
    expect(await stored(ann)).toEqual({ bytes: 0, files: 0 });
  });

  it("are given back at the end of a request that is not stored", async () => {
    const ann = await owner({ storedBytes: 100_000 });
    await outcomeOf(ann, failing(60_000), { "x-fal-store-io": "0" });
    await expect.poll(() => stored(ann)).toEqual({ bytes: 0, files: 0 });
  });

  it("are given back by a call that is refused after they were stored", async () => {
    const ann = await owner({ inProgress: 1 });
    const running = await submit(ann, { prompt: "x", delay_ms: 600_000 });
    const slots = () => test.sql`SELECT FROM places WHERE owner_id = ${ann.ownerId}`;
    await expect.poll(async () => (await slots()).length).toBe(1);
    for (const more of [{}, { "x-fal-store-io": "0" }, { "idempotency-key": randomUUID() }])
      for (const path of [`/${STUB}`, `/${STUB}/stream`])
        expect((await post(`${urls[0]}${path}`, ann, large(60_000), more)).status).toBe(429);
    await expect.poll(() => stored(ann)).toEqual({ bytes: 0, files: 0 });
    await fetch(`${urls[0]}/queue/${STUB}/requests/${running}/cancel`, {
      method: "PUT",
      headers: ann.headers,
    });
  });

  it("of a pipeline's nodes count too", async () => {
    const ann = await owner({ storedBytes: 300_000 });
    const run = async (bytes: number) => {
      const by = { stages: [[large(bytes)]] };
      const answer = await post(`${urls[0]}/queue/tempera/stub-pipeline`, ann, by);
      expect(answer.status, await answer.clone().text()).toBe(200);
      return test.record(((await answer.json()) as { request_id: string }).request_id);
    };
    // The pipeline's input and output, and those of its node.
    expect((await run(50_000))?.outcome).toMatchObject({ ok: true });
    expect(await stored(ann)).toMatchObject({ bytes: expect.closeTo(200_000, -4), files: 4 });
    expect((await run(60_000))?.outcome).toMatchObject(refusedFor("of 300,000 bytes"));
  });
});

async function stored({ ownerId }: TestOwner): Promise<{ bytes: number; files: number } | undefined> {
  const [row] = await test.sql<{ bytes: string; files: string }[]>`
    SELECT bytes, files FROM stored_totals WHERE owner_id = ${ownerId}`;
  return row && { bytes: Number(row.bytes), files: Number(row.files) };
}
