import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import type { Jobs } from "../../core/requests/jobs.ts";
import type { RequestStore } from "../../core/requests/request-store.ts";
import type { Outcome } from "../../core/requests/request.ts";
import { GONE, isTransient } from "../../core/files/stored-value.ts";
import { createPassed, type RetentionClock } from "./retention-clock.ts";

/**
 * The same stores, without what has lived its time: what a sweep has not come to yet is not shown either, by
 * whichever store still has it. Asks nobody: the owners' times are in memory.
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
  const passed = createPassed({ times, clock });
  const outcomeAsShown = (outcome: Outcome, ownerId: string, endedAtMs: number | undefined): Outcome => {
    if (!outcome.ok) return outcome;
    const delivered =
      isTransient(outcome.output) &&
      endedAtMs !== undefined &&
      endedAtMs + LIMITS.unstoredOutputMs <= clock.nowMs();
    return delivered || passed("payloadMs", ownerId, endedAtMs) ? { ...outcome, output: GONE } : outcome;
  };

  return {
    events: {
      ...events,
      async snapshot(requestId) {
        const found = await events.snapshot(requestId);
        return found && !passed("requestMs", found.ownerId, found.endedAtMs) ? found : undefined;
      },
      async outcome(requestId) {
        const found = await events.outcome(requestId);
        if (!found) return undefined;
        const { ownerId, endedAtMs } = found.snapshot;
        return passed("requestMs", ownerId, endedAtMs)
          ? undefined
          : { ...found, outcome: outcomeAsShown(found.outcome, ownerId, endedAtMs) };
      },
    },
    requests: {
      ...requests,
      async find(requestId) {
        const found = await requests.find(requestId);
        if (!found) return undefined;
        const { ownerId, endedAtMs } = found;
        if (passed("requestMs", ownerId, endedAtMs)) return undefined;
        return {
          ...found,
          ...(found.outcome && { outcome: outcomeAsShown(found.outcome, ownerId, endedAtMs) }),
          logs: passed("logMs", ownerId, endedAtMs) ? [] : found.logs,
        };
      },
    },
    jobs: {
      ...jobs,
      async describe(requestId) {
        const found = await jobs.describe(requestId);
        return found && !passed("requestMs", found.ownerId, found.endedAtMs) ? found : undefined;
      },
      async outcome(requestId) {
        const found = await jobs.outcome(requestId);
        if (!found) return undefined;
        const about = await jobs.describe(requestId);
        if (!about || passed("requestMs", about.ownerId, about.endedAtMs)) return undefined;
        return outcomeAsShown(found, about.ownerId, about.endedAtMs);
      },
    },
  };
}
