import { isTransient, TOMBSTONE } from "../../core/files/transient.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import type { Jobs } from "../../core/requests/jobs.ts";
import type { Outcome } from "../../core/requests/request.ts";
import type { RequestStore } from "../../core/requests/request-store.ts";
import { createHasPassed, type HasPassed, type RetentionClock } from "./retention-clock.ts";

type EventReads = Pick<EventLog, "snapshot" | "outcome" | "read" | "follow">;
type RequestReads = Pick<RequestStore, "find">;
type JobReads = Pick<Jobs, "describe" | "outcome">;

interface Parts {
  times: RetentionClock;
  clock: Clock;
}

/** Hides an output or a record whose retention time has passed. */
interface Filter {
  hasPassed: HasPassed;
  /** Replaces the output of an outcome by a tombstone when it must not be shown any more. */
  visible(outcome: Outcome, ownerId: string, endedAtMs: number | undefined): Outcome;
}

/**
 * Wraps stores so that they show nothing whose retention time has passed: what no sweep has deleted yet is
 * hidden, whichever store still has it. The owners' times are in memory, so this costs no query.
 */
export function retentionView<E extends EventReads, R extends RequestReads, J extends JobReads>(
  { events, requests, jobs }: { events: E; requests: R; jobs: J },
  parts: Parts,
): { events: E; requests: R; jobs: J } {
  const filter = createFilter(parts);
  return {
    events: viewEvents(events, filter),
    requests: viewRequests(requests, filter),
    jobs: viewJobs(jobs, filter),
  };
}

function createFilter({ times, clock }: Parts): Filter {
  const hasPassed = createHasPassed({ times, clock });
  return {
    hasPassed,
    visible(outcome, ownerId, endedAtMs) {
      if (!outcome.ok) return outcome;
      const transientHasPassed =
        isTransient(outcome.output) &&
        endedAtMs !== undefined &&
        endedAtMs + LIMITS.unstoredOutputMs <= clock.nowMs();
      return transientHasPassed || hasPassed("payloadMs", ownerId, endedAtMs)
        ? { ...outcome, output: TOMBSTONE }
        : outcome;
    },
  };
}

function viewEvents<E extends EventReads>(events: E, { hasPassed, visible }: Filter): E {
  return {
    ...events,
    async snapshot(requestId: string) {
      const found = await events.snapshot(requestId);
      return found && !hasPassed("requestMs", found.ownerId, found.endedAtMs) ? found : undefined;
    },
    async outcome(requestId: string) {
      const found = await events.outcome(requestId);
      if (!found) return undefined;
      const { ownerId, endedAtMs } = found.snapshot;
      return hasPassed("requestMs", ownerId, endedAtMs)
        ? undefined
        : { ...found, outcome: visible(found.outcome, ownerId, endedAtMs) };
    },
  };
}

function viewRequests<R extends RequestReads>(requests: R, { hasPassed, visible }: Filter): R {
  return {
    ...requests,
    async find(requestId: string) {
      const found = await requests.find(requestId);
      if (!found) return undefined;
      const { ownerId, endedAtMs } = found;
      if (hasPassed("requestMs", ownerId, endedAtMs)) return undefined;
      return {
        ...found,
        ...(found.outcome && { outcome: visible(found.outcome, ownerId, endedAtMs) }),
        logs: hasPassed("logMs", ownerId, endedAtMs) ? [] : found.logs,
      };
    },
  };
}

function viewJobs<J extends JobReads>(jobs: J, { hasPassed, visible }: Filter): J {
  return {
    ...jobs,
    async describe(requestId: string) {
      const found = await jobs.describe(requestId);
      return found && !hasPassed("requestMs", found.ownerId, found.endedAtMs) ? found : undefined;
    },
    async outcome(requestId: string) {
      const outcome = await jobs.outcome(requestId);
      if (!outcome) return undefined;
      const job = await jobs.describe(requestId);
      if (!job || hasPassed("requestMs", job.ownerId, job.endedAtMs)) return undefined;
      return visible(outcome, job.ownerId, job.endedAtMs);
    },
  };
}
