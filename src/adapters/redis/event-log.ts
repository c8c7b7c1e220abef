import { isAfter, parseEventId } from "../../core/requests/event-id.ts";
import { advance, firstSnapshot, type LoggedEvent, type RequestEvent } from "../../core/requests/events.ts";
import { PRIORITY_KEY } from "../../core/requests/job.ts";
import { LIMITS } from "../../core/limits.ts";
import { type Clock, systemClock } from "../../core/operations/clock.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import type { Outcome, RequestIdentity } from "../../core/requests/request.ts";
import type { ServiceTls } from "../../core/operations/service-tls.ts";
import { APPEND_SCRIPT, type AppendReply } from "./append-script.ts";
import { connectRedis } from "./connection.ts";
import { decodeSnapshot, encodeSnapshot } from "./snapshot-hash.ts";
import { createSubscriptions } from "./subscriptions.ts";

export interface RedisEventLogOptions {
  /** `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS. Redis 6.2 or later. */
  url: string;
  /** With which certificates, where Redis speaks TLS. */
  tls?: ServiceTls | undefined;
  /** What every key and channel begins with. */
  prefix?: string;
  clock?: Clock;
  eventsMax?: number;
  ttlMs?: number;
  /** Longest wait for one answer of Redis. */
  answerMs?: number;
  /** Events a slow follower may have waiting in this process; past that it reads them from the stream. */
  inboxMax?: number;
  log?: (line: string) => void;
}

/** How often a task queue's forgotten requests are looked for, at most. */
const SWEEP_EVERY_MS = 60_000;

/** Queue scores: the priority first, then the time of queueing, which fits 2^44 ms until the year 2527. */
const PRIORITY_SPAN = 2 ** 44;

/**
 * The event log on Redis: one stream and one hash per request, under one hash tag; one sorted set per task
 * queue; pub/sub for what is live. Each method is one round trip (`queued`, `started` and `done` touch the
 * task queue too, most often in the same one), and concurrent calls share them.
 */
export function createRedisEventLog(options: RedisEventLogOptions): EventLog {
  const { url, tls, prefix = "tempera:", clock = systemClock, log } = options;
  const {
    eventsMax = LIMITS.eventsMax,
    ttlMs = LIMITS.eventsTtlMs,
    answerMs = 900,
    inboxMax = 1_000,
  } = options;
  const { client, answer } = connectRedis({ url, tls, answerMs, log });
  const subscriptions = createSubscriptions({ url, tls, answerMs });

  const snapshotKey = (requestId: string) => `${prefix}{${requestId}}:snapshot`;
  const streamKey = (requestId: string) => `${prefix}{${requestId}}:events`;
  const queueKey = (taskQueue: string) => `${prefix}queue:{${taskQueue}}`;
  const channel = (requestId: string) => `${prefix}events:${requestId}`;
  const cancelChannel = `${prefix}cancel`;

  client.defineCommand("appendEvent", { numberOfKeys: 2, lua: APPEND_SCRIPT });
  const script = client as unknown as { appendEvent(...args: (string | number)[]): Promise<AppendReply> };

  const put = (request: RequestIdentity, event: RequestEvent): Promise<AppendReply> => {
    const atMs = clock.nowMs();
    const first = encodeSnapshot(firstSnapshot(request, event, atMs));
    const changes = encodeSnapshot(advance(undefined, event, atMs) ?? {});
    return answer(
      script.appendEvent(
        snapshotKey(request.requestId),
        streamKey(request.requestId),
        event.type === "done" ? "" : event.attempt,
        JSON.stringify(event),
        atMs,
        eventsMax,
        ttlMs,
        channel(request.requestId),
        first.length,
        ...first,
        ...changes,
      ),
    );
  };

  /** When each task queue was last swept, by this process. */
  const swept = new Map<string, number>();
  const sweepEveryMs = Math.min(ttlMs / 4, SWEEP_EVERY_MS);

  const enqueue = async ({ taskQueue, priority, requestId }: RequestIdentity): Promise<void> => {
    const key = queueKey(taskQueue);
    const nowMs = clock.nowMs();
    const base = PRIORITY_KEY[priority] * PRIORITY_SPAN;
    // A request that is queued twice keeps its place.
    const work: Promise<unknown>[] = [answer(client.zadd(key, "NX", base + nowMs, requestId))];
    if (nowMs - (swept.get(key) ?? 0) >= sweepEveryMs) {
      swept.set(key, nowMs);
      // Whoever has waited for longer than events are kept is no longer known to anyone: it must not hold up
      // the count.
      work.push(
        answer(client.zremrangebyscore(key, base, base + nowMs - ttlMs)),
        answer(client.pexpire(key, 2 * ttlMs)),
      );
    }
    await Promise.all(work);
  };
  const dequeue = ({ taskQueue, requestId }: RequestIdentity): Promise<unknown> =>
    answer(client.zrem(queueKey(taskQueue), requestId));

  const read = async (requestId: string, afterId?: string): Promise<LoggedEvent[]> => {
    const from = afterId !== undefined && parseEventId(afterId) ? `(${afterId}` : "-";
    const entries = await answer(client.xrange(streamKey(requestId), from, "+"));
    return entries.map(loggedEvent);
  };

  async function* follow(
    requestId: string,
    afterId: string | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<LoggedEvent> {
    let inbox: LoggedEvent[] = [];
    // Events that are in the stream and may not be in the inbox: at first all of them.
    let behind = true;
    let gone: Error | undefined;
    let wake = () => {};
    const onAbort = () => wake();
    // Subscribed before the stream is read, so that no event falls between; what comes both ways is told by
    // its id.
    const unsubscribe = await subscriptions.subscribe(channel(requestId), {
      message(text) {
        if (inbox.length >= inboxMax) {
          inbox = [];
          behind = true;
        }
        inbox.push(publishedEvent(text));
        wake();
      },
      lost(error) {
        gone = error;
        wake();
      },
    });
    signal.addEventListener("abort", onAbort);
    try {
      let lastId = afterId;
      while (!signal.aborted) {
        let batch: LoggedEvent[];
        if (behind) {
          behind = false;
          batch = await read(requestId, lastId);
        } else {
          batch = inbox;
          inbox = [];
        }
        for (const entry of batch) {
          if (!isAfter(entry.id, lastId)) continue;
          if (signal.aborted) return;
          lastId = entry.id;
          yield entry;
          if (entry.event.type === "done") return;
        }
        if (inbox.length > 0 || behind) continue;
        if (gone) throw gone;
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (signal.aborted) resolve();
        });
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
      await unsubscribe();
    }
  }

  return {
    async append(request, event) {
      if (event.type === "queued") {
        // Into the task queue first, and out again when the event is refused: the other way round, a
        // `started` that comes between the two would leave it waiting for ever.
        const [, reply] = await Promise.all([enqueue(request), put(request, event)]);
        if (reply[0] === 0 && reply[1] !== "IN_QUEUE") await dequeue(request);
        return;
      }
      const reply = await put(request, event);
      if (event.type === "started" && reply[0] === 1) await dequeue(request);
    },

    async complete(request, outcome) {
      const [reply] = await Promise.all([put(request, { type: "done", outcome }), dequeue(request)]);
      if (reply[0] === 1 || reply[2] === undefined) return outcome;
      return (JSON.parse(reply[2]) as { outcome: Outcome }).outcome;
    },

    async snapshot(requestId) {
      return decodeSnapshot(await answer(client.hgetall(snapshotKey(requestId))));
    },

    async position({ state, taskQueue, requestId }) {
      if (state !== "IN_QUEUE") return 0;
      return (await answer(client.zrank(queueKey(taskQueue), requestId))) ?? 0;
    },

    waiting: (taskQueue) => answer(client.zcard(queueKey(taskQueue))),

    read,

    async outcome(requestId) {
      const [hash, entries] = await Promise.all([
        answer(client.hgetall(snapshotKey(requestId))),
        answer(client.xrevrange(streamKey(requestId), "+", "-", "COUNT", 1)),
      ]);
      const snapshot = decodeSnapshot(hash);
      const last = entries[0] && loggedEvent(entries[0]).event;
      return snapshot?.state === "COMPLETED" && last?.type === "done"
        ? { snapshot, outcome: last.outcome }
        : undefined;
    },

    follow,

    async drop(request) {
      await Promise.all([
        answer(client.del(snapshotKey(request.requestId), streamKey(request.requestId))),
        dequeue(request),
      ]);
    },

    async announceCancel(requestId) {
      await answer(client.publish(cancelChannel, requestId));
    },

    onCancel: (listener) => subscriptions.subscribe(cancelChannel, { message: listener }),

    async close() {
      subscriptions.close();
      client.disconnect();
    },
  };
}

/** A stream entry, `[id, ["at", ms, "event", JSON]]` (see the append script). */
function loggedEvent([id, fields]: [id: string, fields: string[]]): LoggedEvent {
  return { id, atMs: Number(fields[1]), event: JSON.parse(fields[3] ?? "null") as RequestEvent };
}

/** A published event, `<id> <ms> <JSON>` (see the append script). */
function publishedEvent(text: string): LoggedEvent {
  const first = text.indexOf(" ");
  const second = text.indexOf(" ", first + 1);
  return {
    id: text.slice(0, first),
    atMs: Number(text.slice(first + 1, second)),
    event: JSON.parse(text.slice(second + 1)) as RequestEvent,
  };
}
