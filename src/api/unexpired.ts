import { LIMITS } from "../core/limits.ts";
import type { Clock } from "../core/ports/clock.ts";
import type { EventLog } from "../core/ports/event-log.ts";
import type { Jobs } from "../core/ports/jobs.ts";
import type { RequestStore } from "../core/ports/request-store.ts";
import type { Outcome } from "../core/request.ts";
import { hasPassed } from "../core/retention.ts";
import { GONE, isTransient } from "../core/stored.ts";
import type { RetentionClock } from "./retention-clock.ts";

/** What of a request that has ended may still be shown. */
interface Shown {
  record: boolean;
  payloads: boolean;
  logs: boolean;
}

/**
 * The same stores, without what has lived its time: what a sweep has not come to yet is not shown either, by whichever store still
 * has it. Asks nobody: the owners' times are in memory.
 */
export function unexpired<
  E extends Pick<EventLog, "snapshot" | "outcome" | "read" | "follow">,
  R extends Pick<RequestStore, "find">,
  J extends Pick<Jobs, "describe" | "outcome">,
>(
  stores: { events: E; requests: R; jobs: J },
  { times, clock }: { times: RetentionClock; clock: Clock },
): { events: E; requests: R; jobs: J } {
  const { events, requests, jobs } = stores;
  const shown = (ownerId: string, endedAtMs: number | undefined): Shown => {
    if (endedAtMs === undefined) return { record: true, payloads: true, logs: true };
    const { requestMs, payloadMs, logMs } = times.of(ownerId);
    const nowMs = clock.nowMs();
    return {
      record: !hasPassed(requestMs, endedAtMs, nowMs),
      payloads: !hasPassed(payloadMs, endedAtMs, nowMs),
      logs: !hasPassed(logMs, endedAtMs, nowMs),
    };
  };
  const outcomeAsShown = (outcome: Outcome, payloads: boolean, endedAtMs: number | undefined): Outcome => {
    if (!outcome.ok) return outcome;
    const delivered = isTransient(outcome.output) && endedAtMs !== undefined && endedAtMs + LIMITS.unstoredOutputMs <= clock.nowMs();
    return payloads && !delivered ? outcome : { ...outcome, output: GONE };
  };

  return {
    events: {
      ...events,
      async snapshot(requestId) {
        const found = await events.snapshot(requestId);
        return found && shown(found.ownerId, found.endedAtMs).record ? found : undefined;
      },
      async outcome(requestId) {
        const found = await events.outcome(requestId);
        if (!found) return undefined;
        const { ownerId, endedAtMs } = found.snapshot;
        const may = shown(ownerId, endedAtMs);
        return may.record ? { ...found, outcome: outcomeAsShown(found.outcome, may.payloads, endedAtMs) } : undefined;
      },
    },
    requests: {
      ...requests,
      async find(requestId) {
        const found = await requests.find(requestId);
        if (!found) return undefined;
        const may = shown(found.ownerId, found.endedAtMs);
        if (!may.record) return undefined;
        return {
          ...found,
          ...(found.outcome && { outcome: outcomeAsShown(found.outcome, may.payloads, found.endedAtMs) }),
          logs: may.logs ? found.logs : [],
        };
      },
    },
    jobs: {
      ...jobs,
      async describe(requestId) {
        const found = await jobs.describe(requestId);
        return found && shown(found.ownerId, found.endedAtMs).record ? found : undefined;
      },
      async outcome(requestId) {
        const found = await jobs.outcome(requestId);
        if (!found) return undefined;
        const about = await jobs.describe(requestId);
        const may = about && shown(about.ownerId, about.endedAtMs);
        return may?.record ? outcomeAsShown(found, may.payloads, about?.endedAtMs) : undefined;
      },
    },
  };
}
