import { checkpointKey } from "../../core/engines/engine.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";
import { isTransient } from "../../core/files/stored-value.ts";
import type { Clock } from "../../core/operations/clock.ts";
import { type EventLog, readLogLines } from "../../core/requests/event-log.ts";
import type { LoggedEvent } from "../../core/requests/events.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import type { LoggedRequest, LogSearch } from "../../core/requests/log-search.ts";
import type { Outcome } from "../../core/requests/request.ts";
import type { RequestStore } from "../../core/requests/request-store.ts";

export interface EndedJob {
  job: JobSpec;
  outcome: Outcome;
  attempts: number;
  startedAtMs?: number;
  /** The event log has this outcome already, and no log lines. */
  settled?: boolean;
  /** False: no attempt stored a checkpoint. */
  checkpointed?: boolean;
  /** The job used up its attempts. */
  exhausted: boolean;
}

export interface RecordOutcomeDependencies {
  events: EventLog;
  requests: RequestStore;
  objects: Pick<ObjectStore, "delete">;
  logSearch: Pick<LogSearch, "index">;
  clock: Clock;
}

/**
 * The finish step of every job (design §4, step 4): writes the outcome to the event log and to PostgreSQL,
 * stores the job's log lines, writes a dead letter when the attempts were used up, and deletes the
 * checkpoint. Idempotent. Returns the recorded outcome, which is another one if another writer was first.
 *
 * Rejects with `store_unavailable` while PostgreSQL is unavailable. The event log may be unavailable.
 */
export function createRecordOutcome({
  events,
  requests,
  objects,
  logSearch,
  clock,
}: RecordOutcomeDependencies) {
  return async function recordOutcome(ended: EndedJob): Promise<Outcome> {
    const { job, attempts, startedAtMs, settled, checkpointed } = ended;
    // Deleted in the background: an unavailable store must not delay the end of a job.
    if (checkpointed !== false) objects.delete(checkpointKey(job.requestId)).catch(() => {});
    const outcome = settled
      ? ended.outcome
      : await events.complete(job, ended.outcome).catch(() => ended.outcome);
    const logs = settled ? [] : await readLogLines(events, job.requestId);
    const recorded = await requests.finish({
      job,
      outcome,
      attempts,
      ...(startedAtMs !== undefined && { startedAtMs }),
      endedAtMs: clock.nowMs(),
      logs,
      ...deadLetterOf(ended, outcome),
    });
    // Indexed in the background: the record has the lines, and an unavailable index must not delay the end.
    if (logs.length > 0) logSearch.index({ ...job, lines: logs.flatMap(lineOf) }).catch(() => {});
    // No attempt reads the input any more. A sweep deletes it when the store is unavailable now.
    if ("ref" in job.input && isTransient(job.input)) objects.delete(job.input.ref).catch(() => {});
    return recorded;
  };
}

/**
 * Returns the dead letter of a job that used up its attempts. A direct run has none: its caller has the error
 * and may call again. A node has none: it is retried with its pipeline.
 */
function deadLetterOf({ job, exhausted }: EndedJob, outcome: Outcome): { deadLetter?: { reason: string } } {
  if (!exhausted || job.direct || job.node || outcome.ok) return {};
  return { deadLetter: { reason: `${outcome.error.code}: ${outcome.error.message}` } };
}

function lineOf({ id, atMs, event }: LoggedEvent): LoggedRequest["lines"] {
  if (event.type !== "log") return [];
  const { attempt, level, message } = event;
  return [{ attempt, level, message, id, atMs }];
}
