import { randomUUID } from "node:crypto";
import { getEventListeners } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createMemoryEventLog } from "../../../src/adapters/memory/event-log.ts";
import { createRedisEventLog } from "../../../src/adapters/redis/event-log.ts";
import { isStoreFailure } from "../../../src/core/errors/store-failure.ts";
import type { EventLog } from "../../../src/core/requests/event-log.ts";
import type { LoggedEvent, Snapshot } from "../../../src/core/requests/events.ts";
import type { Outcome, Priority, RequestIdentity } from "../../../src/core/requests/request.ts";
import { newRequestId } from "../../../src/core/requests/request-id.ts";
import { startRedis } from "../../../src/dev/services/redis.ts";
import { leakCheck } from "../../setup/leak-check.ts";
import { startOwnRedis } from "../../setup/own-redis.ts";

leakCheck();

const request = (over: { taskQueue?: string; priority?: Priority } = {}): RequestIdentity => ({
  requestId: newRequestId(),
  ownerId: "owner",
  endpoint: "a/b",
  version: "1.0.0",
  taskQueue: over.taskQueue ?? `gpu/${randomUUID()}`,
  priority: over.priority ?? "normal",
});
const ok = (n: number): Outcome => ({
  ok: true,
  output: { inline: { n } },
  metrics: { inference_time: 1.5 },
});
const all = async (events: AsyncIterable<LoggedEvent>): Promise<LoggedEvent[]> => {
  const seen: LoggedEvent[] = [];
  for await (const event of events) seen.push(event);
  return seen;
};
const open = new AbortController().signal;

describe.each<[string, () => EventLog]>([
  ["memory", () => createMemoryEventLog()],
  [
    "Redis",
    () => createRedisEventLog({ url: process.env.TEST_REDIS_URL ?? "", prefix: `suite-${randomUUID()}:` }),
  ],
])("event log on %s", (_, create) => {
  let log: EventLog;
  beforeAll(() => {
    log = create();
  });
  afterAll(() => log.close());

  it("updates the snapshot from the first event to the last", async () => {
    const r = request();
    expect(await log.snapshot(r.requestId)).toBeUndefined();
    await log.append(r, { type: "queued", attempt: 0 });
    expect(await log.snapshot(r.requestId)).toMatchObject({ ...r, state: "IN_QUEUE", attempt: 0 });
    await log.append(r, { type: "started", attempt: 1, worker: "w" });
    await log.append(r, { type: "progress", attempt: 1, step: 3, steps: 9, remainingMs: 120 });
    expect(await log.snapshot(r.requestId)).toMatchObject({
      state: "IN_PROGRESS",
      attempt: 1,
      progress: { step: 3, steps: 9, remainingMs: 120 },
    });
    expect(await log.outcome(r.requestId)).toBeUndefined();
    expect(await log.complete(r, ok(1))).toEqual(ok(1));
    expect(await log.snapshot(r.requestId)).toMatchObject({
      state: "COMPLETED",
      metrics: { inference_time: 1.5 },
    });
    expect((await log.outcome(r.requestId))?.outcome).toEqual(ok(1));
  });

  it("returns to IN_QUEUE on a retry, and drops events of an abandoned attempt", async () => {
    const r = request();
    await log.append(r, { type: "queued", attempt: 0 });
    await log.append(r, { type: "started", attempt: 1, worker: "w" });
    await log.append(r, {
      type: "queued",
      attempt: 1,
      reason: { code: "runner_disconnected", message: "gone" },
    });
    expect(await log.snapshot(r.requestId)).toMatchObject({ state: "IN_QUEUE" });
    await log.append(r, { type: "started", attempt: 2, worker: "v" });
    await log.append(r, { type: "progress", attempt: 1, step: 8, steps: 9 });
    await log.append(r, { type: "queued", attempt: 1 });
    expect(await log.snapshot(r.requestId)).toMatchObject({ state: "IN_PROGRESS", attempt: 2 });
    expect((await log.read(r.requestId)).map(({ event }) => event.type)).toEqual([
      "queued",
      "started",
      "queued",
      "started",
    ]);
  });

  it("keeps the first done, also of many concurrent ones, and accepts nothing after it", async () => {
    const r = request();
    await log.append(r, { type: "queued", attempt: 0 });
    const won = await Promise.all(Array.from({ length: 20 }, (__, n) => log.complete(r, ok(n))));
    expect(new Set(won.map((outcome) => JSON.stringify(outcome))).size).toBe(1);
    await log.append(r, { type: "log", attempt: 9, level: "INFO", message: "too late" });
    await log.append(r, { type: "queued", attempt: 9 });
    const events = await log.read(r.requestId);
    expect(events.filter(({ event }) => event.type === "done")).toHaveLength(1);
    expect(events.at(-1)?.event.type).toBe("done");
    expect((await log.outcome(r.requestId))?.outcome).toEqual(won[0]);
    expect(await log.position({ ...r, state: "IN_QUEUE", attempt: 9, queuedAtMs: 1 })).toBe(0);
  });

  it("stores the outcome of a request that it did not know", async () => {
    const r = request();
    await log.complete(r, { ok: false, error: { code: "client_cancelled", message: "x" }, metrics: {} });
    expect(await log.snapshot(r.requestId)).toMatchObject({
      ...r,
      state: "COMPLETED",
      error: { code: "client_cancelled", message: "x" },
    });
  });

  it("stores any text and 32 KiB of output", async () => {
    const r = request();
    const message = `é😀\u0000\n\r\u202e ${"x".repeat(4000)}`;
    await log.append(r, { type: "log", attempt: 1, level: "WARN", message });
    const outcome: Outcome = { ok: true, output: { inline: { text: "é\u0000".repeat(8_000) } }, metrics: {} };
    await log.complete(r, outcome);
    const [line, done] = await log.read(r.requestId);
    expect(line?.event).toMatchObject({ message });
    expect(done?.event).toEqual({ type: "done", outcome });
  });

  it("counts positions by priority and time; a retry waits again, a start or an end leaves", async () => {
    const taskQueue = `gpu/${randomUUID()}`;
    const low = request({ taskQueue, priority: "low" });
    const [a, b, c] = [request({ taskQueue }), request({ taskQueue }), request({ taskQueue })];
    for (const r of [low, a, b, c]) await log.append(r, { type: "queued", attempt: 0 });
    const at = async (r: RequestIdentity): Promise<number> =>
      log.position((await log.snapshot(r.requestId)) as never);
    expect(await Promise.all([a, b, c, low].map(at))).toEqual([0, 1, 2, 3]);
    expect(await log.waiting(taskQueue)).toBe(4);
    await log.append(a, { type: "started", attempt: 1, worker: "w" });
    await log.complete(b, ok(1));
    expect(await Promise.all([c, low].map(at))).toEqual([0, 1]);
    expect(await log.waiting(taskQueue)).toBe(2);
    await log.append(a, { type: "queued", attempt: 1 });
    expect(await at(low)).toBe(2);
    await log.drop(c);
    expect(await log.waiting(taskQueue)).toBe(2);
    expect(await log.snapshot(c.requestId)).toBeUndefined();
  });

  it("reads from an id on, with rising ids, and from the start for an invalid id", async () => {
    const r = request();
    for (let i = 0; i < 50; i++)
      await log.append(r, { type: "log", attempt: 1, level: "INFO", message: String(i) });
    const events = await log.read(r.requestId);
    expect(events.map(({ event }) => event.type === "log" && Number(event.message))).toEqual(
      Array.from({ length: 50 }, (__, i) => i),
    );
    for (const i of [0, 17, 48, 49])
      expect(await log.read(r.requestId, events[i]?.id)).toEqual(events.slice(i + 1));
    expect(await log.read(r.requestId, "garbage")).toEqual(events);
    expect(await log.read(newRequestId())).toEqual([]);
  });

  it("follows without gaps or duplicates from any id while events arrive", async () => {
    for (let round = 0; round < 10; round++) {
      const r = request();
      const before = Math.floor(Math.random() * 20);
      for (let i = 0; i < before; i++)
        await log.append(r, { type: "log", attempt: 1, level: "INFO", message: String(i) });
      const backlog = await log.read(r.requestId);
      const from = Math.floor(Math.random() * (before + 1)) - 1;
      const following = [0, 1, 2].map(() => all(log.follow(r.requestId, backlog[from]?.id, open)));
      const writing = (async () => {
        await Promise.all(
          Array.from({ length: 40 }, (__, i) =>
            log.append(r, { type: "log", attempt: 1, level: "INFO", message: String(before + i) }),
          ),
        );
        await log.complete(r, ok(1));
      })();
      await writing;
      const whole = await log.read(r.requestId);
      expect(whole).toHaveLength(before + 41);
      for (const seen of await Promise.all(following)) expect(seen).toEqual(whole.slice(from + 1));
    }
  });

  it("ends the follow of an ended request, and an aborted one at once without leaks", async () => {
    const r = request();
    await log.append(r, { type: "queued", attempt: 0 });
    await log.complete(r, ok(1));
    expect((await all(log.follow(r.requestId, undefined, open))).map(({ event }) => event.type)).toEqual([
      "queued",
      "done",
    ]);
    const gone = new AbortController();
    const waiting = all(log.follow(newRequestId(), undefined, gone.signal));
    gone.abort();
    expect(await waiting).toEqual([]);
    expect(await all(log.follow(r.requestId, undefined, AbortSignal.abort()))).toEqual([]);
  });

  it("leaks nothing when followers stop early", async () => {
    for (let round = 0; round < 20; round++) {
      const r = request();
      await log.append(r, { type: "queued", attempt: 0 });
      for await (const { event } of log.follow(r.requestId, undefined, open)) {
        expect(event.type).toBe("queued");
        break;
      }
      const gone = new AbortController();
      const both = [1, 2].map(() => all(log.follow(r.requestId, undefined, gone.signal)));
      setTimeout(() => gone.abort(), round);
      await Promise.all(both);
      expect(getEventListeners(gone.signal, "abort")).toEqual([]);
    }
    expect(getEventListeners(open, "abort")).toEqual([]);
  });

  it("gives a follower that resumes at its last id the rest, once", async () => {
    const r = request();
    const writing = (async () => {
      for (let i = 0; i < 200; i++)
        await log.append(r, { type: "progress", attempt: 1, step: i, steps: 200 });
      await log.complete(r, ok(1));
    })();
    const seen: LoggedEvent[] = [];
    while (seen.at(-1)?.event.type !== "done") {
      let left = 7;
      for await (const event of log.follow(r.requestId, seen.at(-1)?.id, open)) {
        seen.push(event);
        if (--left === 0) break;
      }
    }
    await writing;
    expect(seen).toEqual(await log.read(r.requestId));
    expect(seen).toHaveLength(201);
  });

  it("is not brought back by a late event after it was dropped, only by another submit", async () => {
    const r = request();
    await log.append(r, { type: "queued", attempt: 0 });
    await log.append(r, { type: "started", attempt: 1, worker: "w" });
    await log.drop(r);
    await log.append(r, { type: "progress", attempt: 1, step: 1, steps: 2 });
    await log.append(r, { type: "queued", attempt: 1 });
    await log.complete(r, ok(1));
    expect(await log.snapshot(r.requestId)).toBeUndefined();
    expect(await log.read(r.requestId)).toEqual([]);
    expect(await log.waiting(r.taskQueue)).toBe(0);
    await log.append(r, { type: "queued", attempt: 0 });
    await log.append(r, { type: "started", attempt: 1, worker: "w" });
    expect(await log.snapshot(r.requestId)).toMatchObject({ state: "IN_PROGRESS", attempt: 1 });
  });

  it("is made again of the later events when it was forgotten", async () => {
    const r = request();
    await log.append(r, { type: "queued", attempt: 0 });
    await log.forget(r);
    expect(await log.snapshot(r.requestId)).toBeUndefined();
    expect(await log.waiting(r.taskQueue)).toBe(0);
    await log.append(r, { type: "started", attempt: 1, worker: "w" });
    await log.complete(r, ok(1));
    expect(await log.outcome(r.requestId)).toMatchObject({
      outcome: ok(1),
      snapshot: { state: "COMPLETED" },
    });
    expect((await log.read(r.requestId)).map(({ event }) => event.type)).toEqual(["started", "done"]);
  });

  it("forgets a dropped request, which may be submitted again", async () => {
    const r = request();
    await log.append(r, { type: "queued", attempt: 0 });
    await log.complete(r, ok(1));
    await log.drop(r);
    await log.drop(r);
    expect(await log.outcome(r.requestId)).toBeUndefined();
    expect(await log.read(r.requestId)).toEqual([]);
    await log.append(r, { type: "queued", attempt: 0 });
    expect(await log.snapshot(r.requestId)).toMatchObject({ state: "IN_QUEUE" });
    expect(await log.waiting(r.taskQueue)).toBe(1);
  });

  it("doubts an unfinished request unless it has seen all of it since the submit", async () => {
    const doubts = async (first: Parameters<EventLog["append"]>[1]) => {
      const r = request();
      await log.append(r, first);
      await log.append(r, { type: "started", attempt: 1, worker: "w" });
      const { doubt } = (await log.snapshot(r.requestId)) ?? {};
      await log.complete(r, ok(1));
      expect(await log.snapshot(r.requestId)).not.toHaveProperty("doubt");
      return doubt !== undefined;
    };
    await expect.poll(() => doubts({ type: "queued", attempt: 0 })).toBe(false);
    expect(await doubts({ type: "queued", attempt: 1 })).toBe(true);
    expect(await doubts({ type: "progress", attempt: 1, step: 1, steps: 2 })).toBe(true);
    expect(await doubts({ type: "log", attempt: 0, level: "INFO", message: "x" })).toBe(true);
  });

  it("announces cancels to every listener until it unsubscribes", async () => {
    const heard: string[][] = [[], []];
    const [first, second] = await Promise.all(heard.map((list) => log.onCancel((id) => list.push(id))));
    await log.announceCancel("x");
    await expect.poll(() => heard, { interval: 5 }).toEqual([["x"], ["x"]]);
    await first?.();
    await log.announceCancel("y");
    await expect.poll(() => heard, { interval: 5 }).toEqual([["x"], ["x", "y"]]);
    await second?.();
  });
});

describe("limits", () => {
  const limited: [string, (options: { eventsMax?: number; ttlMs?: number }) => EventLog][] = [
    ["memory", createMemoryEventLog],
    [
      "Redis",
      (options) =>
        createRedisEventLog({
          url: process.env.TEST_REDIS_URL ?? "",
          prefix: `limits-${randomUUID()}:`,
          ...options,
        }),
    ],
  ];

  it.each(limited)(
    "%s keeps the newest events, about as many as it may, and always the end",
    async (_, create) => {
      const log = create({ eventsMax: 50 });
      const r = request();
      await Promise.all(
        Array.from({ length: 1_000 }, (__, i) =>
          log.append(r, { type: "progress", attempt: 1, step: i, steps: 1_000 }),
        ),
      );
      await log.complete(r, ok(1));
      const kept = await log.read(r.requestId);
      expect(kept.length).toBeGreaterThanOrEqual(50);
      // Redis trims whole nodes of 100 entries.
      expect(kept.length).toBeLessThanOrEqual(250);
      expect((await all(log.follow(r.requestId, undefined, open))).at(-1)?.event.type).toBe("done");
      expect((await log.outcome(r.requestId))?.outcome).toEqual(ok(1));
      await log.close();
    },
  );

  it.each(limited)(
    "%s forgets a request some time after its last event; it no longer counts in its queue",
    async (_, create) => {
      const log = create({ ttlMs: 200 });
      const stale = request();
      await log.append(stale, { type: "queued", attempt: 0 });
      await expect.poll(() => log.snapshot(stale.requestId), { interval: 20 }).toBeUndefined();
      expect(await log.read(stale.requestId)).toEqual([]);
      const fresh = request({ taskQueue: stale.taskQueue });
      await log.append(fresh, { type: "queued", attempt: 0 });
      const snapshot = await log.snapshot(fresh.requestId);
      expect(snapshot && (await log.position(snapshot))).toBe(0);
      expect(await log.waiting(stale.taskQueue)).toBe(1);
      await log.close();
    },
  );

  it("memory: evicts the oldest finished requests first beyond its limits, running ones last", async () => {
    for (const options of [{ requestsMax: 4 }, { charactersMax: 4_000 }]) {
      const log = createMemoryEventLog(options);
      const message = "x".repeat(900);
      const requests = Array.from({ length: 6 }, () => request());
      for (const [n, r] of requests.entries()) {
        await log.append(r, { type: "log", attempt: 1, level: "INFO", message });
        if (n > 0) await log.complete(r, ok(n));
      }
      const known = await Promise.all(
        requests.map(async (r) => (await log.snapshot(r.requestId)) !== undefined),
      );
      expect(known[0]).toBe(true);
      expect(known.lastIndexOf(false)).toBe(known.filter((k) => !k).length);
      expect(known.slice(-2)).toEqual([true, true]);
      await log.close();
    }
  });

  it("Redis: a follower slower than the events misses none", async () => {
    const log = createRedisEventLog({
      url: process.env.TEST_REDIS_URL ?? "",
      prefix: `slow-${randomUUID()}:`,
      inboxMax: 5,
    });
    const r = request();
    const seen: LoggedEvent[] = [];
    const following = (async () => {
      for await (const event of log.follow(r.requestId, undefined, open)) {
        seen.push(event);
        if (seen.length % 40 === 1) await sleep(5);
      }
    })();
    for (let i = 0; i < 400; i++) await log.append(r, { type: "progress", attempt: 1, step: i, steps: 400 });
    await log.complete(r, ok(1));
    await following;
    expect(seen).toEqual(await log.read(r.requestId));
    expect(seen).toHaveLength(401);
    await log.close();
  });

  it("Redis: survives a flush of scripts, and unsubscribes a channel with its last follower", async () => {
    const prefix = `channels-${randomUUID()}:`;
    const log = createRedisEventLog({ url: process.env.TEST_REDIS_URL ?? "", prefix });
    const redis = new Redis(process.env.TEST_REDIS_URL ?? "");
    const r = request();
    await log.append(r, { type: "queued", attempt: 0 });
    await redis.script("FLUSH");
    await Promise.all([
      log.append(r, { type: "started", attempt: 1, worker: "w" }),
      log.snapshot(r.requestId),
    ]);
    expect(await log.snapshot(r.requestId)).toMatchObject({ state: "IN_PROGRESS" });
    const gone = new AbortController();
    const following = [1, 2, 3].map(() => all(log.follow(r.requestId, undefined, gone.signal)));
    await expect.poll(() => redis.pubsub("CHANNELS", `${prefix}events:*`)).toHaveLength(1);
    gone.abort();
    await Promise.all(following);
    expect(await redis.pubsub("CHANNELS", `${prefix}events:*`)).toEqual([]);
    for (const key of await redis.keys(`${prefix}*`)) expect(await redis.pttl(key)).toBeGreaterThan(0);
    redis.disconnect();
    await log.close();
  });
});

it("memory and Redis agree on every snapshot, event and position for any order of events", async () => {
  const clock = { nowMs: () => 1_790_000_000_000 };
  const logs = [
    createMemoryEventLog({ clock }),
    createRedisEventLog({ url: process.env.TEST_REDIS_URL ?? "", prefix: `agree-${randomUUID()}:`, clock }),
  ] as const;
  const pick = (below: number): number => Math.floor(Math.random() * below);
  for (let round = 0; round < 60; round++) {
    const r = request({ priority: pick(2) === 0 ? "normal" : "low" });
    const said: string[] = [];
    for (let n = 0; n < 12; n++) {
      const attempt = pick(4);
      const events: Parameters<EventLog["append"]>[1][] = [
        {
          type: "queued",
          attempt,
          ...(attempt > 0 && { reason: { code: "runner_disconnected", message: "gone" } }),
        },
        { type: "started", attempt, worker: "w" },
        { type: "log", attempt, level: "INFO", message: "é" },
        { type: "progress", attempt, step: n, steps: 12 },
      ];
      // Past the end of the list is `done`, late enough that most rounds have a life before it.
      const event = events[pick(n < 8 ? 4 : 5)];
      said.push(event ? `${event.type} ${attempt}` : "done");
      const answers = await Promise.all(
        logs.map((log) => (event ? log.append(r, event) : log.complete(r, ok(n)))),
      );
      expect(answers[1], said.join(", ")).toEqual(answers[0]);
      const [memory, redis] = await Promise.all(
        logs.map(async (log) => {
          const { doubt: _, ...found } = (await log.snapshot(r.requestId)) ?? {};
          const snapshot = "requestId" in found ? (found as Snapshot) : undefined;
          return {
            snapshot,
            position: snapshot && (await log.position(snapshot)),
            waiting: await log.waiting(r.taskQueue),
            outcome: await log.outcome(r.requestId),
            events: (await log.read(r.requestId)).map(({ atMs, event: logged }) => ({ atMs, logged })),
          };
        }),
      );
      expect(redis, said.join(", ")).toEqual(memory);
    }
  }
  await Promise.all(logs.map((log) => log.close()));
});

const gone = (log: EventLog, id: string) => log.snapshot(id).catch(() => undefined);
/** Submits requests until the log, which has just reconnected, trusts one. */
async function trusted(log: EventLog): Promise<RequestIdentity> {
  let r = request();
  await expect
    .poll(async () => {
      r = request();
      await log.append(r, { type: "queued", attempt: 0 }).catch(() => {});
      const found = await gone(log, r.requestId);
      return found !== undefined && found.doubt === undefined;
    })
    .toBe(true);
  return r;
}

describe("what Redis may have lost", () => {
  it.each([0, 3_600_000, -3_600_000])(
    "is in doubt after it was restored from an older copy, by a clock that is %i ms off",
    async (offMs) => {
      await using redis = await startOwnRedis();
      const clock = { nowMs: () => Date.now() + offMs };
      const log = createRedisEventLog({ url: redis.url, clock });
      const r = await trusted(log);
      await log.append(r, { type: "started", attempt: 1, worker: "w" });
      await redis.keepCopy();
      await expect.poll(() => log.complete(r, ok(1)).catch(() => undefined)).toEqual(ok(1));
      await redis.restoreCopy();
      await expect.poll(() => gone(log, r.requestId)).toMatchObject({ state: "IN_PROGRESS" });
      const first = await log.snapshot(r.requestId);
      expect(first?.doubt).toEqual(expect.any(String));
      // An event of an attempt that was given up takes no doubt away.
      await log.append(r, { type: "progress", attempt: 1, step: 1, steps: 2 });
      expect((await log.snapshot(r.requestId))?.doubt).toEqual(expect.any(String));
      await trusted(log);
      await log.complete(r, ok(1));
      expect(await log.snapshot(r.requestId)).not.toHaveProperty("doubt");
      await log.close();
    },
  );

  it("is in doubt after it was flushed by hand and a late event came", async () => {
    await using redis = await startOwnRedis();
    const log = createRedisEventLog({ url: redis.url });
    const r = await trusted(log);
    const client = new Redis(redis.url);
    await client.flushall();
    expect(await log.snapshot(r.requestId)).toBeUndefined();
    await log.append(r, { type: "progress", attempt: 1, step: 1, steps: 2 });
    const first = await log.snapshot(r.requestId);
    expect(first?.doubt).toEqual(expect.any(String));
    // Another flush is another doubt; ids of the same millisecond would be equal.
    await expect
      .poll(async () => {
        await client.flushall();
        await log.append(r, { type: "progress", attempt: 1, step: 1, steps: 2 });
        return (await log.snapshot(r.requestId))?.doubt;
      })
      .not.toBe(first?.doubt);
    client.disconnect();
    await log.close();
  });

  it("is in doubt when Redis performed the submit later than its sender waited", async () => {
    await using redis = await startOwnRedis();
    const log = createRedisEventLog({ url: redis.url });
    const client = new Redis(redis.url);
    const r = await trusted(log);
    // As if the command had waited in a Redis that hung, while the job ended.
    await client.hset(`tempera:{${r.requestId}}:snapshot`, "whole", String(Date.now() - 60_000));
    expect((await log.snapshot(r.requestId))?.doubt).toEqual(expect.any(String));
    client.disconnect();
    await log.close();
  });

  it("is in doubt after it was frozen while nobody asked", async () => {
    await using redis = await startOwnRedis();
    const { url } = redis;
    const [log, writer] = [createRedisEventLog({ url }), createRedisEventLog({ url })];
    const r = await trusted(log);
    process.kill(redis.pid, "SIGSTOP");
    // Longer than any answer of the idle log is awaited: two calls of another one, each of them in vain.
    for (let call = 0; call < 2; call++) await expect(writer.complete(r, ok(1))).rejects.toThrow();
    process.kill(redis.pid, "SIGCONT");
    await expect
      .poll(() => gone(log, r.requestId))
      .toSatisfy((found) => found?.state === "COMPLETED" || found?.doubt !== undefined);
    await Promise.all([log.close(), writer.close()]);
  });
});

describe("when Redis refuses writes", () => {
  const FULL = {
    code: "store_full",
    message: expect.stringMatching(/^Redis has no memory left \(OOM\).*maxmemory/),
  };

  it("followers and writes fail, snapshots are in doubt, and it works when it is well again", async () => {
    await using redis = await startOwnRedis();
    const log = createRedisEventLog({ url: redis.url });
    const client = new Redis(redis.url);
    const r = await trusted(log);
    const following = all(log.follow(r.requestId, undefined, open)).catch((error) => error);
    await client.config("SET", "maxmemory", "1");
    // Nobody writes: the log finds out by itself.
    expect(await following).toMatchObject(FULL);
    await expect(all(log.follow(r.requestId, undefined, open))).rejects.toMatchObject(FULL);
    const first = await log.snapshot(r.requestId);
    expect(first?.doubt).toEqual(expect.any(String));
    await expect.poll(async () => (await log.snapshot(r.requestId))?.doubt).not.toBe(first?.doubt);
    for (const write of [
      () => log.append(r, { type: "started", attempt: 1, worker: "w" }),
      () => log.append(request(), { type: "queued", attempt: 0 }),
      () => log.complete(r, ok(1)),
    ])
      await expect(write()).rejects.toMatchObject(FULL);
    await log.drop(r);
    expect(await log.snapshot(r.requestId)).toBeUndefined();
    await client.config("SET", "maxmemory", "0");
    const next = await trusted(log);
    const again = all(log.follow(next.requestId, undefined, open));
    await log.complete(next, ok(1));
    expect((await again).at(-1)?.event.type).toBe("done");
    client.disconnect();
    await log.close();
  });

  it("another process learns that a write was refused, although its own are taken", async () => {
    await using redis = await startOwnRedis();
    const { url } = redis;
    const [log, writer] = [createRedisEventLog({ url }), createRedisEventLog({ url })];
    const client = new Redis(redis.url);
    const r = await trusted(log);
    await writer.append(r, { type: "started", attempt: 1, worker: "w" });
    const following = all(log.follow(r.requestId, undefined, open)).catch((error) => error);
    await client.config("SET", "maxmemory", "1");
    await expect(writer.complete(r, ok(1))).rejects.toMatchObject(FULL);
    await client.config("SET", "maxmemory", "0");
    expect(isStoreFailure(await following)).toBe(true);
    expect((await log.snapshot(r.requestId))?.doubt).toEqual(expect.any(String));
    client.disconnect();
    await Promise.all([log.close(), writer.close()]);
  });
});

describe("when Redis goes away", () => {
  it("frozen: calls and followers fail within a second, cancels arrive after the thaw", async () => {
    const folder = await mkdtemp(join(tmpdir(), "tempera-redis-"));
    const redis = await startRedis({ folder, log: () => {} });
    const log = createRedisEventLog({ url: redis.url, prefix: "frozen:" });
    const heard: string[] = [];
    await log.onCancel((id) => heard.push(id));
    const r = request();
    await log.append(r, { type: "queued", attempt: 0 });
    process.kill(redis.pid, "SIGSTOP");
    for (const call of await Promise.allSettled([
      log.snapshot(r.requestId),
      log.complete(r, ok(1)),
      log.announceCancel("lost"),
      all(log.follow(r.requestId, undefined, open)),
    ])) {
      expect(call).toMatchObject({
        reason: { code: "store_unavailable", message: expect.stringContaining(`127.0.0.1:${redis.port}`) },
      });
    }
    process.kill(redis.pid, "SIGCONT");
    await expect.poll(() => log.snapshot(r.requestId).catch(() => undefined)).toBeDefined();
    await expect.poll(() => log.announceCancel("x").then(() => heard.includes("x"))).toBe(true);
    await log.close();
    await redis.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it("fails calls and followers, and works again when it is back", async () => {
    const folder = await mkdtemp(join(tmpdir(), "tempera-redis-"));
    const redis = await startRedis({ folder, log: () => {} });
    const log = createRedisEventLog({ url: redis.url, prefix: "outage:" });
    const r = request();
    await log.append(r, { type: "queued", attempt: 0 });
    const following = all(log.follow(r.requestId, undefined, open)).catch((error) => error);
    await log.append(r, { type: "log", attempt: 0, level: "INFO", message: "x" });
    redis.kill();
    await redis.ended;
    expect(await following).toMatchObject({ code: "store_unavailable" });
    await expect(log.snapshot(r.requestId)).rejects.toMatchObject({ code: "store_unavailable" });
    await expect(
      log.append(r, { type: "log", attempt: 0, level: "INFO", message: "y" }),
    ).rejects.toMatchObject({
      code: "store_unavailable",
    });
    const again = await startRedis({ folder, port: redis.port, log: () => {} });
    await expect
      .poll(() =>
        log.snapshot(r.requestId).then(
          (found) => found?.state,
          () => "away",
        ),
      )
      .toBe("IN_QUEUE");
    await log.complete(r, ok(1));
    expect((await all(log.follow(r.requestId, undefined, open))).at(-1)?.event.type).toBe("done");
    await log.close();
    await again.stop();
    await rm(folder, { recursive: true, force: true });
  });
});
