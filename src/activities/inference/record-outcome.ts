import { checkpointKey } from "../../core/engines/checkpoint.ts";
import type { LoggedEvent } from "../../core/requests/events.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import { readLogLines } from "../../core/requests/log-lines.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import type { LoggedRequest, LogSearch } from "../../core/requests/log-search.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";
import type { RequestStore } from "../../core/requests/request-store.ts";
import type { Outcome } from "../../core/requests/request.ts";
import { isTransient } from "../../core/files/stored-value.ts";

export interface EndedJob {
  job: JobSpec;
  outcome: Outcome;
  attempts: number;
  startedAtMs?: number;
  /** The event log has this outcome already, and no log lines. */
  settled?: boolean;
  /** False: no attempt kept a checkpoint. */
  checkpointed?: boolean;
  /** The job used up its attempts. */
  exhausted: boolean;
}

/**
 * The finish step of every job (design §4, step 4): makes the outcome stand in the event log and in Postgres,
 * keeps the job's log lines, and its dead letter when the attempts were used up; lets its checkpoint go.
 * Idempotent; returns the outcome that stands, which is another one when somebody was first.
 *
 * Rejects with `store_unavailable` while Postgres cannot be reached; the event log may be away.
 */
export const createRecordOutcome = ({
  events,
  requests,
  objects,
  logSearch,
  clock,
}: {
  events: EventLog;
  requests: RequestStore;
  objects: Pick<ObjectStore, "delete">;
  logSearch: Pick<LogSearch, "keep">;
  clock: Clock;
}) =>
  async function recordOutcome({
    job,
    outcome,
    attempts,
    startedAtMs,
    settled,
    checkpointed,
    exhausted,
  }: EndedJob): Promise<Outcome> {
    // Not waited for: a store that is away must not hold up the end of a job.
    if (checkpointed !== false) objects.delete(checkpointKey(job.requestId)).catch(() => {});
    const standing = settled ? outcome : await events.complete(job, outcome).catch(() => outcome);
    const logs = settled ? [] : await readLogLines(events, job.requestId);
    const recorded = await requests.finish({
      job,
      outcome: standing,
      attempts,
      ...(startedAtMs !== undefined && { startedAtMs }),
      endedAtMs: clock.nowMs(),
      logs,
      // Whoever waited for a direct run has its error already, and the choice to call again. A node is tried
      // again with its pipeline.
      ...(exhausted &&
        !job.direct &&
        !job.node &&
        !standing.ok && { deadLetter: { reason: `${standing.error.code}: ${standing.error.message}` } }),
    });
    // Not waited for: the lines are in the record, and a search that is away must not hold up the end of a
    // job.
    if (logs.length > 0) logSearch.keep({ ...job, lines: logs.flatMap(lineOf) }).catch(() => {});
    // No attempt reads it any more. A sweep finds what is left of it when the store is away.
    if ("ref" in job.input && isTransient(job.input)) objects.delete(job.input.ref).catch(() => {});
    return recorded;
  };

function lineOf({ id, atMs, event }: LoggedEvent): LoggedRequest["lines"] {
  if (event.type !== "log") return [];
  const { attempt, level, message } = event;
  return [{ attempt, level, message, id, atMs }];
}
