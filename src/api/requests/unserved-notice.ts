import { LRUCache } from "lru-cache";
import { type EngineOnWorker, unservedVersions } from "../../core/engines/engine-status.ts";
import type { EngineStatusStore } from "../../core/engines/engine-status-store.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import { identityOf, type RequestIdentity, type RequestState } from "../../core/requests/request.ts";

/** Requests that are known to have the line. */
const NOTIFIED_MAX = 10_000;

/** Time for which an event log that failed is left alone. */
const PAUSE_MS = 10_000;

interface NoticePorts {
  engines: Pick<EngineStatusStore, "list">;
  events: Pick<EventLog, "read" | "append">;
  clock: Clock;
}

/**
 * Writes a line into the log of a waiting request whose version no GPU worker can serve, once for each
 * failure.
 */
export interface UnservedNotice {
  /** Writes it in the background: a status is answered all the same. */
  tell(found: RequestIdentity & { state: RequestState; attempt?: number }): void;
}

/** @param waitMs time for which such requests wait before GPU workers refuse them */
export function createUnservedNotice(ports: NoticePorts, waitMs: number): UnservedNotice {
  const notified = new LRUCache<string, string>({ max: NOTIFIED_MAX });
  const unservedAt = followUnserved(ports);
  let failedAtMs = Number.NEGATIVE_INFINITY;
  const write = async (found: RequestIdentity, attempt: number, message: string): Promise<void> => {
    try {
      const before = await ports.events.read(found.requestId);
      if (before.some(({ event }) => event.type === "log" && event.message === message)) return;
      await ports.events.append(identityOf(found), { type: "log", attempt, level: "WARN", message });
    } catch {
      notified.delete(found.requestId); // A later status tells it.
      failedAtMs = ports.clock.nowMs();
    }
  };
  return {
    tell(found) {
      if (found.state !== "IN_QUEUE" || found.attempt === undefined) return;
      const engine = unservedAt(found.taskQueue);
      if (!engine) return;
      const message = sentence(engine, waitMs);
      if (notified.get(found.requestId) === message) return;
      if (Math.abs(ports.clock.nowMs() - failedAtMs) < PAUSE_MS) return;
      notified.set(found.requestId, message);
      void write(found, found.attempt, message);
    },
  };
}

/**
 * Returns the report of an unserved version, by task queue. Reports are read again in the background when
 * they are older than their interval, so that a status never waits for their store.
 */
function followUnserved({ engines, clock }: Pick<NoticePorts, "engines" | "clock">) {
  let unserved = new Map<string, EngineOnWorker>();
  let readAtMs = Number.NEGATIVE_INFINITY;
  return (taskQueue: string): EngineOnWorker | undefined => {
    const nowMs = clock.nowMs();
    if (Math.abs(nowMs - readAtMs) >= LIMITS.engineReportMs) {
      readAtMs = nowMs;
      engines.list().then(
        (list) => {
          unserved = unservedVersions(list);
        },
        () => {}, // While the store is away, the last reports stand.
      );
    }
    return unserved.get(taskQueue);
  };
}

function sentence({ endpoint, version, lastFailure }: EngineOnWorker, waitMs: number): string {
  const cause = lastFailure === undefined ? "" : ` (${lastFailure})`;
  return (
    `The engine of ${endpoint} ${version} is unhealthy on every GPU worker${cause}. The request waits ` +
    "until an operator resets the engine, and ends with runner_scheduling_failure if none has after " +
    `${minutes(waitMs)}.`
  );
}

function minutes(ms: number): string {
  return ms < 60_000 ? `${ms / 1000} s` : `${Math.round(ms / 60_000)} min`;
}
