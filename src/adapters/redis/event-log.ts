import { LRUCache } from "lru-cache";
import { onAbort } from "../../core/concurrency/with-abort.ts";
import { isTemperaError } from "../../core/errors/tempera-error.ts";
import { parseJson, writeJson } from "../../core/json/exact-json.ts";
import { LIMITS } from "../../core/limits.ts";
import { type Clock, systemClock } from "../../core/operations/clock.ts";
import type { ServiceTls } from "../../core/operations/service-tls.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import {
  advance,
  firstSnapshot,
  isAfter,
  isSubmit,
  type LoggedEvent,
  parseEventId,
  type RequestEvent,
  type Snapshot,
} from "../../core/requests/events.ts";
import { PRIORITY_KEY } from "../../core/requests/job.ts";
import type { Outcome, RequestIdentity } from "../../core/requests/request.ts";
import { APPEND_SCRIPT, type AppendReply, DROPPED_STATE } from "./append-script.ts";
import { connectRedis, type RedisConnection } from "./connection.ts";
import { Continuity } from "./continuity.ts";
import { decodeSnapshot, encodeSnapshot } from "./snapshot-hash.ts";
import { createSubscriptions, type Subscriptions } from "./subscriptions.ts";

export interface RedisEventLogOptions {
  /** `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS. Redis 6.2 or later. */
  url: string;
  /** Certificates, where Redis speaks TLS. */
  tls?: ServiceTls | undefined;
  /** Begins every key and channel. @default "tempera:" */
  prefix?: string;
  clock?: Clock;
  /** Events kept per request. */
  eventsMax?: number;
  /** Time to live of a request after its last event, in milliseconds. */
  ttlMs?: number;
  /** Longest wait for one reply of Redis, in milliseconds. @default 900 */
  answerMs?: number;
  /** Events that wait in this process for a slow follower; beyond that it reads them from the stream. */
  inboxMax?: number;
  /** Receives a sentence when Redis cannot be reached, and when it is back. */
  log?: (message: string) => void;
}

/** Least interval between two removals of forgotten requests from one task queue, in milliseconds. */
const SWEEP_EVERY_MS = 60_000;

/** Task queues whose last removal is remembered; a forgotten one is only swept again too early. */
const SWEPT_MAX = 10_000;

/**
 * Scores of a queue are the priority first, then the queueing time, which fits 2^44 ms until the year 2527.
 */
const PRIORITY_SPAN = 2 ** 44;

/** The connections of an event log, and its settings. */
interface EventLogContext {
  redis: RedisConnection;
  continuity: Continuity;
  subscriptions: Subscriptions;
  clock: Clock;
  prefix: string;
  eventsMax: number;
  ttlMs: number;
  inboxMax: number;
}

/**
 * Creates the event log on Redis: one stream and one hash per request, under one hash tag; one sorted set per
 * task queue; pub/sub for live events. Each method is one round trip (`queued`, `started` and `done` change
 * the task queue too, mostly in the same one), and concurrent calls share round trips.
 */
export function createRedisEventLog(options: RedisEventLogOptions): EventLog {
  const { url, tls, prefix = "tempera:", clock = systemClock, answerMs = 900, log } = options;
  const { eventsMax = LIMITS.eventsMax, ttlMs = LIMITS.eventsTtlMs, inboxMax = 1_000 } = options;
  const connection = connectRedis({ url, tls, answerMs, log });
  const subscriptions = createSubscriptions({ url, tls, answerMs });
  const continuity = new Continuity(connection, { answerMs, prefix, subscriptions });
  const redis = { ...connection, answer: continuity.answer };
  const context = { redis, continuity, subscriptions, clock, prefix, eventsMax, ttlMs, inboxMax };
  const queues = new TaskQueues(context);
  const cancelChannel = `${prefix}cancel`;
  return {
    ...writes(context, queues),
    ...reads(context),

    async position({ state, taskQueue, requestId }) {
      return state === "IN_QUEUE" ? queues.position(taskQueue, requestId) : 0;
    },
    waiting: (taskQueue) => queues.waiting(taskQueue),

    follow: (requestId, afterId, signal) => follow(context, requestId, afterId, signal),

    announceCancel: async (requestId) => {
      await redis.answer(redis.client.publish(cancelChannel, requestId));
    },
    onCancel: (listener) => subscriptions.subscribe(cancelChannel, { message: listener }),

    async close() {
      continuity.close();
      subscriptions.close();
      redis.client.disconnect();
    },
  };
}

type KeyContext = Pick<EventLogContext, "prefix">;
const snapshotKey = ({ prefix }: KeyContext, requestId: string) => `${prefix}{${requestId}}:snapshot`;
const streamKey = ({ prefix }: KeyContext, requestId: string) => `${prefix}{${requestId}}:events`;
const queueKey = ({ prefix }: KeyContext, taskQueue: string) => `${prefix}queue:{${taskQueue}}`;
const eventChannel = ({ prefix }: KeyContext, requestId: string) => `${prefix}events:${requestId}`;

/** The waiting requests of each task queue, by priority and then by queueing time. */
class TaskQueues {
  readonly #context: EventLogContext;
  readonly #sweepEveryMs: number;
  /** Time of the last removal of forgotten requests by this process, by key. */
  readonly #sweptAtMs = new LRUCache<string, number>({ max: SWEPT_MAX });

  constructor(context: EventLogContext) {
    this.#context = context;
    this.#sweepEveryMs = Math.min(context.ttlMs / 4, SWEEP_EVERY_MS);
  }

  /** Adds a request. One that waits already keeps its position. */
  async add({ taskQueue, priority, requestId }: RequestIdentity): Promise<void> {
    const { redis, clock, ttlMs } = this.#context;
    const { client, answer } = redis;
    const key = queueKey(this.#context, taskQueue);
    const nowMs = clock.nowMs();
    const base = PRIORITY_KEY[priority] * PRIORITY_SPAN;
    const commands: Promise<unknown>[] = [answer(client.zadd(key, "NX", base + nowMs, requestId))];
    if (nowMs - (this.#sweptAtMs.get(key) ?? 0) >= this.#sweepEveryMs) {
      this.#sweptAtMs.set(key, nowMs);
      // A request that has waited for longer than events are kept is forgotten, and must not count any more.
      commands.push(
        answer(client.zremrangebyscore(key, base, base + nowMs - ttlMs)),
        answer(client.pexpire(key, 2 * ttlMs)),
      );
    }
    await Promise.all(commands);
  }

  async remove({ taskQueue, requestId }: RequestIdentity): Promise<void> {
    const { client, answer } = this.#context.redis;
    await answer(client.zrem(queueKey(this.#context, taskQueue), requestId));
  }

  async position(taskQueue: string, requestId: string): Promise<number> {
    const { client, answer } = this.#context.redis;
    return (await answer(client.zrank(queueKey(this.#context, taskQueue), requestId))) ?? 0;
  }

  waiting(taskQueue: string): Promise<number> {
    const { client, answer } = this.#context.redis;
    return answer(client.zcard(queueKey(this.#context, taskQueue)));
  }
}

function writes(
  context: EventLogContext,
  queues: TaskQueues,
): Pick<EventLog, "append" | "complete" | "drop" | "forget"> {
  const { client, answer } = context.redis;
  const put = appending(context);
  return {
    async append(request, event) {
      if (event.type === "queued") {
        // Into the task queue first, and out again when the event is refused. The other way round, a
        // `started` between the two steps would leave the request in the queue for ever.
        const [, reply] = await Promise.all([queues.add(request), put(request, event)]);
        if (reply[0] === 0 && reply[1] !== "IN_QUEUE") await queues.remove(request);
        return;
      }
      const reply = await put(request, event);
      if (event.type === "started" && reply[0] === 1) await queues.remove(request);
    },

    async complete(request, outcome) {
      const [reply] = await Promise.all([put(request, { type: "done", outcome }), queues.remove(request)]);
      if (reply[0] === 1 || reply[2] === undefined) return outcome;
      return parseJson<{ outcome: Outcome }>(reply[2]).outcome;
    },

    async drop(request) {
      const key = snapshotKey(context, request.requestId);
      const dropped = client
        .multi()
        .del(key, streamKey(context, request.requestId))
        .hset(key, { state: DROPPED_STATE })
        .pexpire(key, context.ttlMs);
      try {
        await Promise.all([answer(dropped.exec()), queues.remove(request)]);
      } catch (error) {
        if (!isTemperaError(error) || error.code !== "store_full") throw error;
        // Such a Redis refuses the mark, and with it the whole transaction; it still deletes.
        await forget(request);
      }
    },

    forget,
  };

  async function forget(request: RequestIdentity): Promise<void> {
    const { requestId } = request;
    const deleted = client.del(snapshotKey(context, requestId), streamKey(context, requestId));
    await Promise.all([answer(deleted), queues.remove(request)]);
  }
}

/** Returns the call of the append script. */
function appending(
  context: EventLogContext,
): (request: RequestIdentity, event: RequestEvent) => Promise<AppendReply> {
  const { redis, continuity, clock, eventsMax, ttlMs } = context;
  redis.client.defineCommand("appendEvent", { numberOfKeys: 2, lua: APPEND_SCRIPT });
  const script = redis.client as unknown as {
    appendEvent(...args: (string | number)[]): Promise<AppendReply>;
  };
  return (request, event) => {
    const atMs = clock.nowMs();
    const first = encodeSnapshot(firstSnapshot(request, event, atMs));
    const wholeUntilMs = isSubmit(event) ? continuity.deadlineMs() : undefined;
    if (wholeUntilMs !== undefined) first.push("whole", String(wholeUntilMs));
    const changes = encodeSnapshot(advance(undefined, event, atMs) ?? {});
    return redis.answer(
      script.appendEvent(
        snapshotKey(context, request.requestId),
        streamKey(context, request.requestId),
        event.type === "done" ? "" : event.attempt,
        writeJson(event),
        atMs,
        eventsMax,
        ttlMs,
        eventChannel(context, request.requestId),
        first.length,
        ...first,
        ...changes,
      ),
    );
  };
}

async function readEvents(
  context: EventLogContext,
  requestId: string,
  afterId?: string,
): Promise<LoggedEvent[]> {
  const { client, answer } = context.redis;
  const from = afterId !== undefined && parseEventId(afterId) ? `(${afterId}` : "-";
  const entries = await answer(client.xrange(streamKey(context, requestId), from, "+"));
  return entries.map(eventOfEntry);
}

function reads(context: EventLogContext): Pick<EventLog, "snapshot" | "read" | "outcome"> {
  const { client, answer } = context.redis;
  return {
    async snapshot(requestId) {
      const hash = await answer(client.hgetall(snapshotKey(context, requestId)));
      const snapshot = decodeSnapshot(hash);
      const doubt = snapshot && doubtAbout(context, snapshot, hash);
      if (snapshot && doubt !== undefined) snapshot.doubt = doubt;
      return snapshot;
    },

    read: (requestId, afterId) => readEvents(context, requestId, afterId),

    async outcome(requestId) {
      const [hash, entries] = await Promise.all([
        answer(client.hgetall(snapshotKey(context, requestId))),
        answer(client.xrevrange(streamKey(context, requestId), "+", "-", "COUNT", 1)),
      ]);
      const snapshot = decodeSnapshot(hash);
      const last = entries[0] && eventOfEntry(entries[0]).event;
      return snapshot?.state === "COMPLETED" && last?.type === "done"
        ? { snapshot, outcome: last.outcome }
        : undefined;
    },
  };
}

/**
 * Returns the doubt about a snapshot: an unfinished request is known to be unfinished only if this process
 * has seen the log without interruption since the submit. A request that begins with another event was lost
 * in between, and that event may come from an attempt that was given up. So does one whose submit came later
 * than its sender waited for: a Redis that hung performs it when it goes on, after the request has ended.
 */
function doubtAbout(
  { continuity }: EventLogContext,
  { state }: Snapshot,
  { bornId = "", whole }: Record<string, string>,
): string | undefined {
  if (state === "COMPLETED") return undefined;
  const [bornMs] = parseEventId(bornId) ?? [0];
  const isWhole = whole !== undefined && bornMs <= Number(whole);
  const interruption = continuity.doubtAbout(isWhole ? bornMs : 0);
  return interruption === undefined ? undefined : `${interruption}:${bornId}`;
}

/**
 * The events that arrive for one follower while it is busy. Beyond `max` they are dropped here, and the
 * follower reads the stream instead.
 */
class Inbox {
  readonly #max: number;
  #events: LoggedEvent[] = [];
  /** The stream may have events that are not here: at first all of them. */
  #incomplete = true;
  #failure: Error | undefined;
  #notify = (): void => {};

  constructor(max: number) {
    this.#max = max;
  }

  add(event: LoggedEvent): void {
    if (this.#events.length >= this.#max) {
      this.#events = [];
      this.#incomplete = true;
    }
    this.#events.push(event);
    this.#notify();
  }

  /** Ends the following with `error`, after the events that are here already. */
  fail(error: Error): void {
    this.#failure = error;
    this.#notify();
  }

  /** Returns the events that arrived, or `undefined` when the stream has to be read. */
  take(): LoggedEvent[] | undefined {
    if (this.#incomplete) {
      this.#incomplete = false;
      return undefined;
    }
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /** Resolves when there is something to take, or at an abort. Rejects when the subscription was lost. */
  async wait(signal: AbortSignal): Promise<void> {
    if (this.#events.length > 0 || this.#incomplete) return;
    if (this.#failure) throw this.#failure;
    await new Promise<void>((resolve) => {
      this.#notify = resolve;
      if (signal.aborted) resolve();
    });
  }

  wake(): void {
    this.#notify();
  }
}

async function* follow(
  context: EventLogContext,
  requestId: string,
  afterId: string | undefined,
  signal: AbortSignal,
): AsyncGenerator<LoggedEvent> {
  context.continuity.assertWritable();
  const inbox = new Inbox(context.inboxMax);
  // Subscribed before the stream is read, so that no event falls in between. An event that arrives both ways
  // is recognised by its id.
  const unsubscribe = await context.subscriptions.subscribe(eventChannel(context, requestId), {
    message: (text) => inbox.add(publishedEvent(text)),
    lost: (error) => inbox.fail(error),
  });
  const subscription = onAbort(signal, () => inbox.wake());
  const forget = context.continuity.onRefusal((error) => inbox.fail(error));
  try {
    let lastId = afterId;
    while (!signal.aborted) {
      const batch = inbox.take() ?? (await readEvents(context, requestId, lastId));
      for (const entry of batch) {
        if (!isAfter(entry.id, lastId)) continue;
        if (signal.aborted) return;
        lastId = entry.id;
        yield entry;
        if (entry.event.type === "done") return;
      }
      await inbox.wait(signal);
    }
  } finally {
    subscription[Symbol.dispose]();
    forget();
    await unsubscribe();
  }
}

/** Decodes a stream entry, `[id, ["at", ms, "event", JSON]]` (see the append script). */
function eventOfEntry([id, fields]: [id: string, fields: string[]]): LoggedEvent {
  return { id, atMs: Number(fields[1]), event: parseJson<RequestEvent>(fields[3] ?? "null") };
}

/** Decodes a published event, `<id> <ms> <JSON>` (see the append script). */
function publishedEvent(text: string): LoggedEvent {
  const first = text.indexOf(" ");
  const second = text.indexOf(" ", first + 1);
  return {
    id: text.slice(0, first),
    atMs: Number(text.slice(first + 1, second)),
    event: parseJson<RequestEvent>(text.slice(second + 1)),
  };
}
