import { randomUUID } from "node:crypto";
import { appendFileSync, cpSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createConcurrencySlotStore } from "../../src/adapters/postgres/owners/concurrency-slot-store.ts";
import { createJobs } from "../../src/adapters/temporal/jobs.ts";
import type { PlanLimits } from "../../src/core/owners/plan.ts";
import { startRedis } from "../../src/dev/services/redis.ts";
import type { Service } from "../../src/dev/services/service.ts";
import { releaseLostSlots } from "../../src/maintenance/repair-concurrency-slots.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const STUB = "tempera/stub";
let test: TestPlatform;
let urls: [string, string];
/** A Redis of this file's own, since it is killed. */
let redis: Service;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-redis-"));
  redis = await startRedis({ folder, log: () => {} });
  // A stub with a price.
  cpSync(resolve(import.meta.dirname, `../../models/${STUB}`), join(folder, "models", STUB), {
    recursive: true,
  });
  appendFileSync(
    join(folder, "models", STUB, "1.0.0/model.yaml"),
    "price: { unit: request, unitPrice: 0.4, currency: USD }\n",
  );
  const models = { TEMPERA_MODELS: join(folder, "models") };
  test = await startTestPlatform({ REDIS_URL: redis.url, ...models });
  urls = [test.platform.url, (await test.secondGateway(models)).url];
});
afterAll(async () => {
  await test[Symbol.asyncDispose]();
  await redis.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Makes an owner for one test, with limits. */
async function owner(
  limits: PlanLimits,
): Promise<{ ownerId: string; keyId: string; headers: Record<string, string> }> {
  const ownerId = `o-${randomUUID().slice(0, 8)}`;
  const made = await test.client.admin<{ key: string; key_id: string }>("POST", "/v1/keys", {
    alias: "a key",
    owner: ownerId,
  });
  await setLimits(ownerId, limits);
  return {
    ownerId,
    keyId: made.key_id,
    headers: { authorization: `Key ${made.key}`, "content-type": "application/json" },
  };
}
const setLimits = (ownerId: string, limits: PlanLimits) =>
  test.sql`INSERT INTO owners (owner_id, allowance)
           VALUES (${ownerId}, ${JSON.stringify(limits)}::text::jsonb)
           ON CONFLICT (owner_id) DO UPDATE SET allowance = excluded.allowance`;
const submit = (
  url: string,
  headers: Record<string, string>,
  input: object = {},
  path = `/queue/${STUB}`,
): Promise<Response> => fetch(`${url}${path}`, { method: "POST", body: JSON.stringify(input), headers });
const run = (url: string, headers: Record<string, string>, input: object = {}) =>
  submit(url, headers, input, `/${STUB}`);
const idOf = async (answer: Response): Promise<string> => {
  expect(answer.status).toBe(200);
  return ((await answer.json()) as { request_id: string }).request_id;
};
const ended = (requestId: string) => test.record(requestId);
const cancel = (url: string, headers: Record<string, string>, id: string) =>
  fetch(`${url}/queue/${STUB}/requests/${id}/cancel`, { method: "PUT", headers });
const stateOf = async (headers: Record<string, string>, id: string): Promise<string> => {
  const answer = await fetch(`${urls[0]}/queue/${STUB}/requests/${id}/status`, { headers });
  return ((await answer.json()) as { status: string }).status;
};
/** Checks a refusal: the status and headers that fal's clients read. */
async function expectRefused(answer: Response | undefined, type: string): Promise<void> {
  expect(answer?.status).toBe(429);
  expect(Number(answer?.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
  expect(answer?.headers.get("x-fal-needs-retry")).toBe("1");
  expect(answer?.headers.get("x-fal-error-type")).toBe(type);
  expect(await answer?.json()).toMatchObject({ error_type: type, detail: expect.stringContaining("may") });
}
const statuses = (answers: Response[]) => ({
  taken: answers.filter(({ status }) => status === 200).length,
  refused: answers.filter(({ status }) => status === 429),
});

describe("the rate of calls", () => {
  it("is counted over all gateways, with the burst, and recovers", async () => {
    const flood = async (): Promise<number> => {
      const { headers } = await owner({ requestsPerSecond: 0.02, burst: 3 });
      const { taken, refused } = statuses(
        await Promise.all(Array.from({ length: 24 }, (_, i) => submit(urls[i % 2] as string, headers))),
      );
      expect(taken + refused.length).toBe(24);
      await expectRefused(refused[0], "rate_limited");
      // Where Redis is silent for a quarter of a second, as it may be on a loaded machine, each gateway
      // counts for itself too.
      expect(taken).toBeLessThanOrEqual(12);
      return taken;
    };
    await expect.poll(flood).toBe(4);
    const quick = await owner({ requestsPerSecond: 1 });
    expect(
      statuses(await Promise.all(urls.map((url) => submit(url, quick.headers)))).taken,
    ).toBeGreaterThanOrEqual(1);
    for (const url of urls)
      await expect.poll(async () => (await submit(url, quick.headers)).status, { interval: 300 }).toBe(200);
  });

  it("of one key is counted apart from its owner's other keys", async () => {
    const { ownerId, keyId, headers } = await owner({ requestsPerSecond: 1000 });
    await test.sql`INSERT INTO key_allowances VALUES (${keyId}, '{"requestsPerSecond": 0.05}')`;
    expect((await submit(urls[0], headers)).status).toBe(200);
    const refused = await submit(urls[1], headers);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(10);
    await expectRefused(refused, "rate_limited");
    const other = await test.client.admin<{ key: string }>("POST", "/v1/keys", {
      alias: "another",
      owner: ownerId,
    });
    expect((await submit(urls[0], { authorization: `Key ${other.key}` })).status).toBe(200);
  });

  it("does not count reads", async () => {
    const { headers } = await owner({ requestsPerSecond: 0.05 });
    const id = await idOf(await submit(urls[0], headers));
    for (let i = 0; i < 5; i++)
      expect(
        (await fetch(`${urls[0]}/queue/${STUB}/requests/${id}/status`, { headers })).status,
      ).toBeLessThan(300);
  });

  it("follows an administrator's change within seconds at both gateways", async () => {
    const { ownerId, headers } = await owner({});
    for (const url of urls) expect((await submit(url, headers)).status).toBe(200);
    await setLimits(ownerId, { requestsPerSecond: 0.01 });
    for (const url of urls)
      await expect.poll(async () => (await submit(url, headers)).status, { interval: 50 }).toBe(429);
  });
});

describe("queued requests", () => {
  it("are counted until they have ended; refused ones are not counted", async () => {
    const { headers } = await owner({ queued: 3 });
    const ids = await Promise.all(
      Array.from({ length: 3 }, async () => idOf(await submit(urls[0], headers, { delay_ms: 60_000 }))),
    );
    await expectRefused(await submit(urls[0], headers), "queued_requests_limit");
    await expect.poll(async () => (await submit(urls[1], headers)).status).toBe(429);
    await Promise.all(ids.map((id) => cancel(urls[0], headers, id)));
    await Promise.all(ids.map(ended));
    await expect.poll(async () => (await submit(urls[0], headers)).status).toBe(200);
  });
});

describe("requests in progress", () => {
  it("beyond the limit wait outside the GPU queue, and direct runs are refused", async () => {
    const { headers } = await owner({ inProgress: 2 });
    const ids: string[] = [];
    for (let i = 0; i < 5; i++)
      ids.push(await idOf(await submit(urls[i % 2] as string, headers, { delay_ms: 60_000 })));
    const running = async () =>
      (await Promise.all(ids.map((id) => stateOf(headers, id)))).filter((state) => state === "IN_PROGRESS")
        .length;
    await expect.poll(running).toBe(2);
    // The stub's engine has 64 slots: the waiting requests are in no GPU queue.
    expect(await test.backlog(STUB)).toBe(0);
    await expectRefused(await run(urls[1], headers), "concurrent_requests_limit");
    for (const id of ids) {
      expect(await running()).toBeLessThanOrEqual(2);
      await cancel(urls[0], headers, id);
      await ended(id);
    }
    await expect.poll(async () => (await run(urls[1], headers)).status).toBe(200);
    await expect.poll(() => test.sql`SELECT FROM places`).toHaveLength(0);
  });

  it("get their slots by priority and age, and stop waiting at their deadline or a cancel", async () => {
    const { headers } = await owner({ inProgress: 1 });
    const first = await idOf(await submit(urls[0], headers, { delay_ms: 60_000 }));
    await expect.poll(() => stateOf(headers, first)).toBe("IN_PROGRESS");
    const late = await idOf(
      await submit(urls[0], { ...headers, "x-fal-request-timeout": "1" }, { delay_ms: 10 }),
    );
    const cancelled = await idOf(await submit(urls[0], headers, { delay_ms: 10 }));
    const low = await idOf(
      await submit(urls[0], { ...headers, "x-fal-queue-priority": "low" }, { delay_ms: 10 }),
    );
    await expect.poll(() => test.sql`SELECT FROM places WHERE request_id = ${low}`).toHaveLength(1);
    const normal = await idOf(await submit(urls[0], headers, { delay_ms: 10 }));
    await expect.poll(() => test.sql`SELECT FROM places WHERE request_id = ${normal}`).toHaveLength(1);
    await cancel(urls[0], headers, cancelled);
    expect((await ended(late))?.outcome).toMatchObject({
      ok: false,
      error: { code: "startup_timeout" },
      userTimeout: true,
    });
    expect((await ended(cancelled))?.outcome).toMatchObject({
      ok: false,
      error: { code: "client_cancelled" },
    });
    await cancel(urls[0], headers, first);
    const [normalStart = 0, lowStart = 0] = (await Promise.all([normal, low].map(ended))).map(
      (record) => record?.startedAtMs,
    );
    expect(normalStart).toBeLessThan(lowStart);
  });

  it("that wait go on when the limit is raised", async () => {
    const { ownerId, headers } = await owner({ inProgress: 1 });
    const ids = await Promise.all(
      Array.from({ length: 4 }, async () => idOf(await submit(urls[0], headers, { delay_ms: 300 }))),
    );
    await setLimits(ownerId, {});
    await Promise.all(ids.map(ended));
  });

  it("release their slot when an operator ends the job", async () => {
    const { headers } = await owner({ inProgress: 1 });
    const first = await idOf(await submit(urls[0], headers, { delay_ms: 60_000 }));
    await expect.poll(() => stateOf(headers, first)).toBe("IN_PROGRESS");
    const second = await idOf(await submit(urls[0], headers, { delay_ms: 10 }));
    await test.temporal.workflow.getHandle(first).terminate();
    // Old enough for Temporal to be asked about it, and checked now instead of within a minute.
    await test.sql`UPDATE places SET taken_at = taken_at - interval '2 minutes' WHERE request_id = ${first}`;
    await releaseLostSlots({ slots: createConcurrencySlotStore(test.sql), jobs: createJobs(test.temporal) });
    expect((await ended(second))?.outcome).toMatchObject({ ok: true });
  });
});

describe("uploaded bytes", () => {
  it("are counted at their begin, whoever uses the address, and given back after a failure", async () => {
    const { headers } = await owner({ uploadBytesPerDay: 1_000 });
    const upload = async (bytes: number): Promise<Response> => {
      const initiate = await fetch(`${urls[0]}/rest/storage/upload/initiate`, {
        method: "POST",
        headers,
        body: JSON.stringify({ content_type: "text/plain", file_name: "a.txt" }),
      });
      const { upload_url } = (await initiate.json()) as { upload_url: string };
      return fetch(upload_url, { method: "PUT", body: "x".repeat(bytes) });
    };
    expect((await upload(600)).status).toBe(200);
    const refused = await upload(600);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(3_600);
    await expectRefused(refused, "upload_limit");
    expect((await upload(400)).status).toBe(200);
    await expectRefused(await upload(1), "upload_limit");
  });
});

describe("spend", () => {
  it("counts the prices of submits at once, and refuses as fal does without balance", async () => {
    const { headers } = await owner({ spendPerDay: 1, spendPerMonth: 100 });
    const answers = [];
    for (let n = 0; n < 5; n++) answers.push(await submit(urls[n % 2] as string, headers, { delay_ms: 20 }));
    // 0.4 each: two fit at each gateway, and each counts the other's within two seconds.
    expect(answers.filter(({ status }) => status === 200).length).toBeGreaterThanOrEqual(2);
    expect(answers.filter(({ status }) => status === 200).length).toBeLessThanOrEqual(4);
    for (const url of urls)
      await expect.poll(async () => (await submit(url, headers)).status, { interval: 200 }).toBe(403);
    const refused = await submit(urls[0], headers);
    expect(await refused.json()).toMatchObject({
      detail: expect.stringMatching(/^User is locked. Reason: Exhausted balance\..* day/),
    });
    expect((await run(urls[0], headers)).status).toBe(403);
  });

  it("of runs is counted by the ledger once they have ended", async () => {
    const { headers } = await owner({ spendPerMonth: 1 });
    expect([(await run(urls[0], headers)).status, (await run(urls[0], headers)).status]).toEqual([200, 200]);
    expect((await run(urls[0], headers)).status).toBe(403);
    await expect.poll(async () => (await run(urls[1], headers)).status, { interval: 200 }).toBe(403);
  });
});

/** A script that moves the clock of a process, by `+1` milliseconds for instance. */
const jumpingClock = (jump: string): string => `const now=Date.now;Date.now=()=>now()${jump}`;

describe("a clock that jumps", () => {
  it.each(["+2 * 86400e3", "-2 * 86400e3"])(
    "by %s ms at one gateway changes no limit and no idempotency key",
    async (jump) => {
      const jumped = await test.secondGateway({
        TEMPERA_MODELS: join(folder, "models"),
        NODE_OPTIONS: `--import=${encodeURI(`data:text/javascript,${jumpingClock(jump)}`)}`,
      });
      const { headers } = await owner({ requestsPerSecond: 0.02 });
      const submitted = await (await submit(jumped.url, (await owner({})).headers)).json();
      // Ids begin with the time of their creation.
      const madeAtMs = Number.parseInt(
        (submitted as { request_id: string }).request_id.replace("-", "").slice(0, 12),
        16,
      );
      expect(Math.abs(madeAtMs - Date.now())).toBeGreaterThan(86_400_000);
      expect((await submit(urls[0], headers)).status).toBe(200);
      const refused = await submit(jumped.url, headers);
      expect(Number(refused.headers.get("retry-after"))).toBeLessThanOrEqual(50);
      await expectRefused(refused, "rate_limited");
      const free = await owner({});
      const key = { ...free.headers, "idempotency-key": randomUUID() };
      const ids = [
        await idOf(await submit(jumped.url, key, { prompt: "x" })),
        await idOf(await submit(urls[0], key, { prompt: "x" })),
      ];
      expect(new Set(ids).size).toBe(1);
      await jumped.stop();
    },
  );
});

describe("without Redis", () => {
  it("each gateway counts for itself at once, and together again afterwards", async () => {
    const { headers } = await owner({ requestsPerSecond: 0.02 });
    for (const url of urls) await submit(url, (await owner({})).headers);
    await redis.stop();
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => submit(urls[i % 2] as string, headers)),
    );
    const { taken, refused } = statuses(answers);
    expect(taken).toBe(2);
    await expectRefused(refused[0], "rate_limited");
    redis = await startRedis({ folder, port: Number(new URL(redis.url).port), log: () => {} });
    await expect
      .poll(
        async () => {
          const fresh = await owner({ requestsPerSecond: 0.02 });
          return statuses(await Promise.all(urls.map((url) => submit(url, fresh.headers)))).taken;
        },
        { interval: 500 },
      )
      .toBe(1);
  });
});
