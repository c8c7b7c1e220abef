import { TemperaError } from "../../core/errors/tempera-error.ts";
import { isAfter } from "../../core/requests/event-id.ts";
import {
  advance,
  firstSnapshot,
  type LoggedEvent,
  type RequestEvent,
  type Snapshot,
} from "../../core/requests/events.ts";
import { PRIORITY_KEY } from "../../core/requests/job.ts";
import { LIMITS } from "../../core/limits.ts";
import { type Clock, systemClock } from "../../core/operations/clock.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import type { Outcome, RequestIdentity } from "../../core/requests/request.ts";
import { createWaitingLine, type WaitingLine } from "./pending-queue.ts";

export interface MemoryEventLogOptions {
  clock?: Clock;
  eventsMax?: number;
  ttlMs?: number;
  /** Requests kept in all; over it the longest finished go first, then the longest silent. */
  requestsMax?: number;
  /** Characters of event JSON kept in all, evicted in the same order. An outcome may be 32 KiB. */
  charactersMax?: number;
}

interface Entry {
  logged: LoggedEvent;
  characters: number;
}

interface Remembered {
  snapshot: Snapshot;
  entries: Entry[];
  characters: number;
  lastAtMs: number;
  outcome?: Outcome;
}

/** How often requests whose time is over are looked for. */
const SWEEP_MS = 60_000;

/**
 * The event log of a platform that runs as one process: the same rules as on Redis, in this process's memory,
 * within a fixed number of requests, events and characters.
 */
export function createMemoryEventLog(options: MemoryEventLogOptions = {}): EventLog {
  const { clock = systemClock, eventsMax = LIMITS.eventsMax, ttlMs = LIMITS.eventsTtlMs } = options;
  const { requestsMax = 10_000, charactersMax = 128 * 1024 * 1024 } = options;

  /**
   * In order of the last event, longest silent first, so that sweeping and evicting look at the front only.
   */
  const running = new Map<string, Remembered>();
  const finished = new Map<string, Remembered>();
  const lines = new Map<string, WaitingLine>();
  const followers = new Map<string, Set<() => void>>();
  const cancelListeners = new Set<(requestId: string) => void>();
  let characters = 0;
  let closed = false;
  let lastMs = 0;
  let lastN = 0;

  const recall = (requestId: string): Remembered | undefined =>
    running.get(requestId) ?? finished.get(requestId);

  const nextId = (): string => {
    const nowMs = Date.now();
    if (nowMs > lastMs) {
      lastMs = nowMs;
      lastN = 0;
    } else lastN += 1;
    return `${lastMs}-${lastN}`;
  };

  const leaveLine = (taskQueue: string, requestId: string): void => {
    const line = lines.get(taskQueue);
    line?.leave(requestId);
    if (line?.length() === 0) lines.delete(taskQueue);
  };

  const enterLine = ({ taskQueue, requestId, priority }: RequestIdentity): void => {
    let line = lines.get(taskQueue);
    if (!line) {
      line = createWaitingLine();
      lines.set(taskQueue, line);
    }
    line.enter(requestId, PRIORITY_KEY[priority]);
  };

  const forget = (requestId: string): void => {
    const known = recall(requestId);
    if (!known) return;
    characters -= known.characters;
    leaveLine(known.snapshot.taskQueue, requestId);
    running.delete(requestId);
    finished.delete(requestId);
  };

  const evict = (): void => {
    while (running.size + finished.size > requestsMax || characters > charactersMax) {
      const [oldest] = finished.size > 0 ? finished.keys() : running.keys();
      if (oldest === undefined) return;
      forget(oldest);
    }
  };

  const sweep = (): void => {
    const before = clock.nowMs() - ttlMs;
    for (const requests of [running, finished]) {
      for (const [requestId, { lastAtMs }] of requests) {
        if (lastAtMs > before) break;
        forget(requestId);
      }
    }
  };
  const sweeping = setInterval(sweep, Math.min(SWEEP_MS, ttlMs));
  sweeping.unref();

  /** False when the event is not legal there. */
  const put = (request: RequestIdentity, event: RequestEvent): boolean => {
    const { requestId } = request;
    const atMs = clock.nowMs();
    const known = recall(requestId);
    const changes = advance(known?.snapshot, event, atMs);
    if (!changes) return false;

    // Through JSON, so that nobody holds a piece of the log in hand and what comes back is what Redis would
    // give.
    const text = JSON.stringify(event);
    const logged: LoggedEvent = { id: nextId(), atMs, event: JSON.parse(text) };
    const now: Remembered = known ?? {
      snapshot: firstSnapshot(request, event, atMs),
      entries: [],
      characters: 0,
      lastAtMs: atMs,
    };
    now.snapshot = { ...now.snapshot, ...changes };
    now.entries.push({ logged, characters: text.length });
    now.characters += text.length;
    now.lastAtMs = atMs;
    characters += text.length;
    if (now.entries.length > eventsMax) {
      const dropped = now.entries.shift();
      now.characters -= dropped?.characters ?? 0;
      characters -= dropped?.characters ?? 0;
    }

    running.delete(requestId); // set anew, it goes to the end of the order
    if (logged.event.type === "done") {
      now.outcome = logged.event.outcome;
      finished.set(requestId, now);
    } else running.set(requestId, now);
    if (event.type === "queued") enterLine(request);
    if (event.type === "started" || event.type === "done") leaveLine(request.taskQueue, requestId);
    evict();
    for (const wake of followers.get(requestId) ?? []) wake();
    return true;
  };

  const after = (requestId: string, afterId: string | undefined): LoggedEvent[] => {
    const entries = recall(requestId)?.entries ?? [];
    // Followers ask for the last few of many: look from the end.
    let from = entries.length;
    while (from > 0 && isAfter((entries[from - 1] as Entry).logged.id, afterId)) from -= 1;
    return entries.slice(from).map(({ logged }) => structuredClone(logged));
  };

  const open = (): void => {
    if (closed) throw new TemperaError("store_unavailable", "The event log is closed.");
  };

  async function* follow(
    requestId: string,
    afterId: string | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<LoggedEvent> {
    open();
    let wake = () => {};
    const onEvent = () => wake();
    const waiting = followers.get(requestId) ?? new Set();
    followers.set(requestId, waiting.add(onEvent));
    signal.addEventListener("abort", onEvent);
    try {
      let lastId = afterId;
      while (!signal.aborted) {
        const batch = after(requestId, lastId);
        for (const entry of batch) {
          if (signal.aborted) return;
          lastId = entry.id;
          yield entry;
          if (entry.event.type === "done") return;
        }
        if (batch.length > 0) continue;
        open();
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (signal.aborted) resolve();
        });
      }
    } finally {
      signal.removeEventListener("abort", onEvent);
      waiting.delete(onEvent);
      if (waiting.size === 0 && followers.get(requestId) === waiting) followers.delete(requestId);
    }
  }

  return {
    async append(request, event) {
      open();
      put(request, event);
    },

    async complete(request, outcome) {
      open();
      put(request, { type: "done", outcome });
      return structuredClone(recall(request.requestId)?.outcome ?? outcome);
    },

    async snapshot(requestId) {
      open();
      const known = recall(requestId);
      return known && { ...known.snapshot };
    },

    async position({ state, taskQueue, requestId }) {
      open();
      return state === "IN_QUEUE" ? (lines.get(taskQueue)?.position(requestId) ?? 0) : 0;
    },

    async waiting(taskQueue) {
      open();
      return lines.get(taskQueue)?.length() ?? 0;
    },

    async read(requestId, afterId) {
      open();
      return after(requestId, afterId);
    },

    async outcome(requestId) {
      open();
      const known = recall(requestId);
      return known?.outcome && { snapshot: { ...known.snapshot }, outcome: structuredClone(known.outcome) };
    },

    follow,

    async drop(request) {
      open();
      forget(request.requestId);
    },

    async announceCancel(requestId) {
      open();
      for (const listener of cancelListeners) queueMicrotask(() => listener(requestId));
    },

    async onCancel(listener) {
      open();
      // Wrapped, so that one function given twice is two listeners.
      const own = (requestId: string) => listener(requestId);
      cancelListeners.add(own);
      return async () => void cancelListeners.delete(own);
    },

    async close() {
      closed = true;
      clearInterval(sweeping);
      for (const waiting of followers.values()) for (const wake of waiting) wake();
    },
  };
}
