import { LRUCache } from "lru-cache";
import { onAbort } from "../../core/concurrency/with-abort.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { parseJson, writeJson } from "../../core/json/exact-json.ts";
import { LIMITS } from "../../core/limits.ts";
import { type Clock, systemClock } from "../../core/operations/clock.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import {
  advance,
  firstSnapshot,
  isAfter,
  isSubmit,
  type LoggedEvent,
  type RequestEvent,
  type Snapshot,
} from "../../core/requests/events.ts";
import { PRIORITY_KEY } from "../../core/requests/job.ts";
import type { Outcome, RequestIdentity } from "../../core/requests/request.ts";
import { PendingQueue } from "./pending-queue.ts";

export interface MemoryEventLogOptions {
  clock?: Clock;
  /** Events kept per request. */
  eventsMax?: number;
  /** Time to live of a request after its last event, in milliseconds. */
  ttlMs?: number;
  /** Requests kept in all; beyond it the oldest finished ones are evicted first, then the longest silent. */
  requestsMax?: number;
  /** Characters of event JSON kept in all, evicted in the same order. An outcome may be 32 KiB. */
  charactersMax?: number;
}

/** Interval of the sweeps for requests whose time to live is over, in milliseconds. */
const SWEEP_MS = 60_000;

/**
 * Creates the event log of a platform that is one process: the same rules as on Redis, in this process's
 * memory, within a fixed number of requests, events and characters.
 */
export function createMemoryEventLog(options: MemoryEventLogOptions = {}): EventLog {
  const { clock = systemClock, eventsMax = LIMITS.eventsMax, ttlMs = LIMITS.eventsTtlMs } = options;
  const { requestsMax = 10_000, charactersMax = 128 * 1024 * 1024 } = options;
  const histories = new RequestHistories({ clock, eventsMax, ttlMs, requestsMax, charactersMax });
  const cancelListeners = new Set<(requestId: string) => void>();
  return {
    async append(request, event) {
      histories.append(request, event);
    },

    async complete(request, outcome) {
      histories.append(request, { type: "done", outcome });
      return structuredClone(histories.find(request.requestId)?.outcome ?? outcome);
    },

    async snapshot(requestId) {
      const known = histories.find(requestId);
      if (!known) return undefined;
      const { snapshot, doubt } = known;
      return { ...snapshot, ...(doubt !== undefined && snapshot.state !== "COMPLETED" && { doubt }) };
    },

    async position({ state, taskQueue, requestId }) {
      const queue = histories.queue(taskQueue);
      return state === "IN_QUEUE" ? (queue?.position(requestId) ?? 0) : 0;
    },

    async waiting(taskQueue) {
      return histories.queue(taskQueue)?.length ?? 0;
    },

    async read(requestId, afterId) {
      histories.assertOpen();
      return histories.eventsAfter(requestId, afterId);
    },

    async outcome(requestId) {
      const known = histories.find(requestId);
      return known?.outcome && { snapshot: { ...known.snapshot }, outcome: structuredClone(known.outcome) };
    },

    follow: (requestId, afterId, signal) => follow(histories, requestId, afterId, signal),

    drop: async ({ requestId }) => histories.drop(requestId),
    forget: async ({ requestId }) => histories.forget(requestId),

    async announceCancel(requestId) {
      histories.assertOpen();
      for (const listener of cancelListeners) queueMicrotask(() => listener(requestId));
    },

    async onCancel(listener) {
      histories.assertOpen();
      // Wrapped, so that one function given twice is two listeners.
      const own = (requestId: string) => listener(requestId);
      cancelListeners.add(own);
      return async () => void cancelListeners.delete(own);
    },

    async close() {
      histories.close();
    },
  };
}

/** Dropped requests that are remembered. */
const DROPPED_MAX = 10_000;

interface History {
  snapshot: Snapshot;
  /** Present when the first event is not the submit's: the request was evicted in between. */
  doubt?: string;
  entries: { logged: LoggedEvent; characters: number }[];
  characters: number;
  lastAtMs: number;
  outcome?: Outcome;
}

/**
 * The events and the snapshot of each request. A request is in `#running` until its `done`, then in
 * `#finished`; it is removed when its time to live is over, or to make room for others.
 *
 * Unless said otherwise, public methods throw `store_unavailable` once the log is closed.
 */
class RequestHistories {
  readonly #options: Required<MemoryEventLogOptions>;
  /** By time of the last event, longest silent first: sweeps and evictions look at the front only. */
  readonly #running = new Map<string, History>();
  readonly #finished = new Map<string, History>();
  readonly #queues = new Map<string, PendingQueue>();
  readonly #followers = new Map<string, Set<() => void>>();
  /** Requests that were dropped and not submitted again. */
  readonly #dropped = new LRUCache<string, true>({ max: DROPPED_MAX });
  readonly #sweeping: NodeJS.Timeout;
  #characters = 0;
  #closed = false;
  #lastId = { ms: 0, n: 0 };

  constructor(options: Required<MemoryEventLogOptions>) {
    this.#options = options;
    this.#sweeping = setInterval(() => this.#sweep(), Math.min(SWEEP_MS, options.ttlMs));
    this.#sweeping.unref();
  }

  assertOpen(): void {
    if (this.#closed) throw new TemperaError("store_unavailable", "The event log is closed.");
  }

  find(requestId: string): History | undefined {
    this.assertOpen();
    return this.#find(requestId);
  }

  queue(taskQueue: string): PendingQueue | undefined {
    this.assertOpen();
    return this.#queues.get(taskQueue);
  }

  /** Returns copies of the events after `afterId`, of all events without it. Works on a closed log too. */
  eventsAfter(requestId: string, afterId: string | undefined): LoggedEvent[] {
    const entries = this.#find(requestId)?.entries ?? [];
    // Followers want the last few of many, so the search begins at the end.
    let from = entries.length;
    while (from > 0 && isAfter((entries[from - 1] as (typeof entries)[0]).logged.id, afterId)) from -= 1;
    return entries.slice(from).map(({ logged }) => structuredClone(logged));
  }

  /** Appends an event; one that is not legal in the request's state is ignored. */
  append(request: RequestIdentity, event: RequestEvent): void {
    this.assertOpen();
    const { requestId } = request;
    const atMs = this.#options.clock.nowMs();
    if (this.#dropped.has(requestId)) {
      if (event.type === "done" || event.attempt > 0) return;
      this.#dropped.delete(requestId);
    }
    const known = this.#find(requestId);
    const changes = advance(known?.snapshot, event, atMs);
    if (!changes) return;
    const history: History = known ?? {
      snapshot: firstSnapshot(request, event, atMs),
      entries: [],
      characters: 0,
      lastAtMs: atMs,
    };
    history.snapshot = { ...history.snapshot, ...changes };
    const logged = this.#push(history, event, atMs);
    if (!known && !isSubmit(event)) history.doubt = logged.id;
    this.#running.delete(requestId); // inserted again, it moves to the end of the order
    if (logged.event.type === "done") {
      history.outcome = logged.event.outcome;
      this.#finished.set(requestId, history);
    } else this.#running.set(requestId, history);
    if (event.type === "queued") this.#enqueue(request);
    if (event.type === "started" || event.type === "done") this.#dequeue(request.taskQueue, requestId);
    this.#evict();
    for (const notify of this.#followers.get(requestId) ?? []) notify();
  }

  /** Removes a request; events of its attempts are ignored until it is submitted again. */
  drop(requestId: string): void {
    this.forget(requestId);
    this.#dropped.set(requestId, true);
  }

  /** Removes a request; the next of its events makes it again. */
  forget(requestId: string): void {
    this.assertOpen();
    this.remove(requestId);
  }

  /** Removes a request, on a closed log too. */
  remove(requestId: string): void {
    const known = this.#find(requestId);
    if (!known) return;
    this.#characters -= known.characters;
    this.#dequeue(known.snapshot.taskQueue, requestId);
    this.#running.delete(requestId);
    this.#finished.delete(requestId);
  }

  /** Calls `listener` after each event of a request, and when the log is closed. Returns how to stop. */
  onEvent(requestId: string, listener: () => void): () => void {
    this.assertOpen();
    const listeners = this.#followers.get(requestId) ?? new Set();
    this.#followers.set(requestId, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#followers.get(requestId) === listeners)
        this.#followers.delete(requestId);
    };
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#sweeping);
    for (const listeners of this.#followers.values()) for (const notify of listeners) notify();
  }

  #find(requestId: string): History | undefined {
    return this.#running.get(requestId) ?? this.#finished.get(requestId);
  }

  #push(history: History, event: RequestEvent, atMs: number): LoggedEvent {
    // Through JSON: callers keep no reference into the log, and it returns exactly what Redis would.
    const text = writeJson(event);
    const logged: LoggedEvent = { id: this.#nextId(), atMs, event: parseJson<RequestEvent>(text) };
    history.entries.push({ logged, characters: text.length });
    history.lastAtMs = atMs;
    this.#count(history, text.length);
    if (history.entries.length > this.#options.eventsMax)
      this.#count(history, -(history.entries.shift()?.characters ?? 0));
    return logged;
  }

  #count(history: History, characters: number): void {
    history.characters += characters;
    this.#characters += characters;
  }

  #nextId(): string {
    const nowMs = Date.now();
    this.#lastId =
      nowMs > this.#lastId.ms ? { ms: nowMs, n: 0 } : { ms: this.#lastId.ms, n: this.#lastId.n + 1 };
    return `${this.#lastId.ms}-${this.#lastId.n}`;
  }

  #enqueue({ taskQueue, requestId, priority }: RequestIdentity): void {
    const queue = this.#queues.get(taskQueue) ?? new PendingQueue();
    this.#queues.set(taskQueue, queue);
    queue.add(requestId, PRIORITY_KEY[priority]);
  }

  #dequeue(taskQueue: string, requestId: string): void {
    const queue = this.#queues.get(taskQueue);
    queue?.remove(requestId);
    if (queue?.length === 0) this.#queues.delete(taskQueue);
  }

  #evict(): void {
    const { requestsMax, charactersMax } = this.#options;
    while (this.#running.size + this.#finished.size > requestsMax || this.#characters > charactersMax) {
      const [oldest] = this.#finished.size > 0 ? this.#finished.keys() : this.#running.keys();
      if (oldest === undefined) return;
      this.remove(oldest);
    }
  }

  #sweep(): void {
    const before = this.#options.clock.nowMs() - this.#options.ttlMs;
    for (const requests of [this.#running, this.#finished]) {
      for (const [requestId, { lastAtMs }] of requests) {
        if (lastAtMs > before) break;
        this.remove(requestId);
      }
    }
  }
}

async function* follow(
  histories: RequestHistories,
  requestId: string,
  afterId: string | undefined,
  signal: AbortSignal,
): AsyncGenerator<LoggedEvent> {
  let notify = () => {};
  const stop = histories.onEvent(requestId, () => notify());
  const subscription = onAbort(signal, () => notify());
  try {
    let lastId = afterId;
    while (!signal.aborted) {
      const batch = histories.eventsAfter(requestId, lastId);
      for (const entry of batch) {
        if (signal.aborted) return;
        lastId = entry.id;
        yield entry;
        if (entry.event.type === "done") return;
      }
      if (batch.length > 0) continue;
      histories.assertOpen();
      await new Promise<void>((resolve) => {
        notify = resolve;
        if (signal.aborted) resolve();
      });
    }
  } finally {
    subscription[Symbol.dispose]();
    stop();
  }
}
