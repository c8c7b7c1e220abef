/** One suite for the counters of rates: in memory, in Redis, and in unavailable Redis. */
import { randomUUID } from "node:crypto";
import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createMemoryQuotas } from "../../../src/adapters/memory/quotas.ts";
import { createRedisQuotas } from "../../../src/adapters/redis/quotas.ts";
import type { Quota, Quotas } from "../../../src/core/owners/quotas.ts";

const redisUrl = () => process.env.TEST_REDIS_URL ?? "";

describe.each([
  ["in memory", () => createMemoryQuotas()],
  ["in Redis", () => createRedisQuotas({ url: redisUrl(), prefix: `test-${randomUUID()}:` })],
  ["in Redis that is away", () => createRedisQuotas({ url: "redis://127.0.0.1:1", prefix: "test:" })],
])("quotas %s", (_, open) => {
  let quotas: Quotas;
  let quota: Quota;
  beforeEach(async () => {
    quotas = open();
    quota = { ownerId: randomUUID(), name: "calls", limit: 3, windowSeconds: 60 };
    await quotas.take({ ...quota, ownerId: "warm" }, 1);
  });
  afterEach(() => quotas.close());
  const take = (points = 1, over: Partial<Quota> = {}) => quotas.take({ ...quota, ...over }, points);

  it("grant exactly the limit to any number of concurrent callers", async () => {
    const taken = await Promise.all(Array.from({ length: 10 }, () => take()));
    expect(taken.filter(({ ok }) => ok)).toHaveLength(3);
  });

  it("report the wait until the end of the window, no longer", async () => {
    await take(3);
    const refused = await take();
    if (refused.ok) throw new Error("it was taken");
    expect(refused.retryAfterMs).toBeGreaterThan(50_000);
    expect(refused.retryAfterMs).toBeLessThanOrEqual(60_000);
  });

  it("start again with the next window", async () => {
    const short = { windowSeconds: 1 };
    await take(3, short);
    expect((await take(1, short)).ok).toBe(false);
    await expect.poll(async () => (await take(1, short)).ok).toBe(true);
  });

  it("are separate for each owner and name", async () => {
    await take(3);
    expect((await take(1, { name: "upload" })).ok).toBe(true);
    expect((await take(1, { ownerId: randomUUID() })).ok).toBe(true);
  });

  it("refund points that were not used, of a refused call too", async () => {
    await take(2);
    expect((await take(5)).ok).toBe(false);
    await quotas.refund(quota, 5);
    expect((await take(1)).ok).toBe(true);
  });

  it("grant nothing at a limit of zero", async () => expect((await take(1, { limit: 0 })).ok).toBe(false));
});

describe("quotas in Redis", () => {
  let redis: Redis;
  beforeAll(() => {
    redis = new Redis(redisUrl());
  });
  afterAll(() => redis.disconnect());

  it("are shared by gateways, have an owner's keys in one slot of a cluster, and expire", async () => {
    const prefix = `test-${randomUUID()}:`;
    const [first, second] = [
      createRedisQuotas({ url: redisUrl(), prefix }),
      createRedisQuotas({ url: redisUrl(), prefix }),
    ];
    const quota = { ownerId: "ann", name: "calls", limit: 2, windowSeconds: 60 };
    // Calls before the connection is open are counted by their gateway alone.
    await expect
      .poll(async () => {
        const ownerId = randomUUID();
        const taken = [];
        for (const each of [first, second, first, second])
          taken.push((await each.take({ ...quota, ownerId }, 1)).ok);
        return taken;
      })
      .toEqual([true, true, false, false]);
    await first.take(quota, 1);
    await second.take({ ...quota, name: "upload" }, 1);
    const keys = (await redis.keys(`${prefix}*ann*`)).sort();
    expect(keys).toEqual([`${prefix}limits:{ann}:calls`, `${prefix}limits:{ann}:upload`]);
    for (const key of keys) expect(await redis.ttl(key)).toBeGreaterThan(0);
    await Promise.all([first.close(), second.close()]);
  });
});
