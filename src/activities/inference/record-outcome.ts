import { checkpointKey } from "../../core/engines/engine.ts";
import { deleteCounted } from "../../core/files/counted-object.ts";
import type { FileStore } from "../../core/files/file-store.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";
import { isTransient, transientFolder } from "../../core/files/transient.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { Log } from "../../core/operations/log.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import { asLogLine, type LoggedEvent } from "../../core/requests/events.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import type { LoggedRequest, LogSearch } from "../../core/requests/log-search.ts";
import type { Outcome } from "../../core/requests/request.ts";
import type { RequestStore } from "../../core/requests/request-store.ts";
import type { CheckOutput } from "../pipelines/check-output.ts";

/** Pauses before an outcome that the event log did not take is announced again, in milliseconds. */
const ANNOUNCE_AGAIN_MS = [100, 250, 500, 1_000, 2_000];

export interface EndedJob {
  job: JobSpec;
  outcome: Outcome;
  attempts: number;
  startedAtMs?: number;
  /** False: the event log has no log lines of the job. */
  logged?: boolean;
  /**
   * No other attempt and no cancel can have told another outcome: the job's first attempt reported this one
   * to Temporal, or its workflow alone makes it.
   */
  soleAttempt?: boolean;
  /** False: no attempt stored a checkpoint. */
  checkpointed?: boolean;
  /** The job used up its attempts. */
  exhausted: boolean;
}

export interface RecordOutcomeDependencies {
  events: Pick<EventLog, "append" | "complete" | "outcome" | "read">;
  requests: Pick<RequestStore, "finish">;
  objects: Pick<ObjectStore, "delete" | "list">;
  files: Pick<FileStore, "uncountObjects">;
  logSearch: Pick<LogSearch, "index">;
  log: Pick<Log, "info" | "warn">;
  clock: Clock;
  /** Tells whether the call is an activity whose argument Temporal has stored. @default false */
  isDurable?: () => boolean;
  /** Checks the outputs of pipelines. @default none is checked */
  checkOutput?: CheckOutput;
}

/**
 * The finish step of every job (design §4, step 4): writes the outcome to PostgreSQL and then to the event
 * log, stores the job's log lines, writes a dead letter when the attempts were used up, and deletes the
 * checkpoint. Idempotent. Returns the outcome that stands, which is another one if another writer was first.
 *
 * An outcome is told, by the event log, only once it stands (decision 27): when PostgreSQL has it, or when
 * Temporal has it and no other one can have been told.
 *
 * Rejects with `store_unavailable` while PostgreSQL is unavailable. The event log may be unavailable.
 */
export function createRecordOutcome({
  events,
  requests,
  objects,
  files,
  logSearch,
  log,
  clock,
  isDurable = () => false,
  checkOutput = () => undefined,
}: RecordOutcomeDependencies) {
  return async function recordOutcome(ended: EndedJob): Promise<Outcome> {
    const { job, attempts, startedAtMs, checkpointed, soleAttempt } = ended;
    // Deleted in the background: an unavailable store must not delay the end of a job.
    if (checkpointed !== false) objects.delete(checkpointKey(job.requestId)).catch(() => {});
    const { outcome: made } = ended;
    const fault = made.ok ? checkOutput(job, made.output) : undefined;
    if (fault !== undefined) await warnOfOutput({ events, log }, job, fault);
    const { announced, logs } = await readLog(events, ended);
    const outcome = announced ?? ended.outcome;
    if (soleAttempt && isDurable()) await announce(events, job, outcome);
    const recorded = await requests.finish({
      job,
      outcome,
      attempts,
      ...(startedAtMs !== undefined && { startedAtMs }),
      endedAtMs: clock.nowMs(),
      logs,
      ...deadLetterOf(ended, outcome),
    });
    tellFailure(log, ended, recorded);
    if (!announced) await announce(events, job, recorded);
    // Indexed in the background: the record has the lines, and an unavailable index must not delay the end.
    if (logs.length > 0) logSearch.index({ ...job, lines: logs.flatMap(lineOf) }).catch(() => {});
    // No attempt reads the input any more. A sweep deletes it when the store is unavailable now.
    if ("ref" in job.input && isTransient(job.input)) deleteInputs({ objects, files }, job).catch(() => {});
    return recorded;
  };
}

/** Inputs of one request: what was submitted, and what a check completed, by each attempt to do so. */
const INPUTS_MAX = 100;

async function deleteInputs(
  stores: Pick<RecordOutcomeDependencies, "objects" | "files">,
  { requestId }: Pick<JobSpec, "requestId">,
): Promise<void> {
  const folder = transientFolder(requestId);
  const stored = await stores.objects.list(folder, undefined, INPUTS_MAX);
  const keys = stored.map(({ key }) => key);
  await deleteCounted(
    stores,
    keys.filter((key) => key.startsWith(`${folder}input`)),
  );
}

/**
 * Announces an outcome; again, in the background, when the event log did not take it. Another process may
 * have its connection back earlier, and show the job as unfinished until then.
 */
async function announce(events: Pick<EventLog, "complete">, job: JobSpec, outcome: Outcome): Promise<void> {
  const isTaken = () =>
    events.complete(job, outcome).then(
      () => true,
      () => false,
    );
  if (await isTaken()) return;
  void (async () => {
    for (const pauseMs of ANNOUNCE_AGAIN_MS) {
      await new Promise<void>((resolve) => setTimeout(resolve, pauseMs).unref());
      if (await isTaken()) return;
    }
  })();
}

/**
 * Reads the outcome that the event log has announced, and the log lines of the job. PostgreSQL may have lost
 * the outcome since, or an operator may have ended the job.
 */
async function readLog(
  events: Pick<EventLog, "outcome" | "read">,
  { job, logged }: EndedJob,
): Promise<{ announced: Outcome | undefined; logs: LoggedEvent[] }> {
  if (logged === false) {
    const end = await events.outcome(job.requestId).catch(() => undefined);
    return { announced: end?.outcome, logs: [] };
  }
  const read = await events.read(job.requestId).catch(() => []);
  const last = read.at(-1)?.event;
  return {
    announced: last?.type === "done" ? last.outcome : undefined,
    logs: read.flatMap((event) => asLogLine(event) ?? []),
  };
}

/** Tells the caller and the author of a pipeline that its output is not what its schema promises. */
async function warnOfOutput(
  { events, log }: Pick<RecordOutcomeDependencies, "events" | "log">,
  job: JobSpec,
  message: string,
): Promise<void> {
  const { requestId, endpoint, version } = job;
  const before = await events.read(requestId).catch(() => []);
  // An earlier try of this step may have got as far as here.
  if (before.some(({ event }) => event.type === "log" && event.message === message)) return;
  log.warn({ requestId, endpoint, version }, message);
  await events.append(job, { type: "log", attempt: 1, level: "WARN", message }).catch(() => {});
}

/**
 * Returns the dead letter of a job that used up its attempts. A direct run has none: its caller has the error
 * and may call again. A node has none: it is retried with its pipeline.
 */
function deadLetterOf({ job, exhausted }: EndedJob, outcome: Outcome): { deadLetter?: { reason: string } } {
  if (!exhausted || job.direct || job.node || outcome.ok) return {};
  return { deadLetter: { reason: `${outcome.error.code}: ${outcome.error.message}` } };
}

/**
 * Logs that a job failed or was cancelled. An operator should look at a dead letter and at a pipeline whose
 * code failed; everything else is an ordinary outcome, whose attempts have their own lines.
 */
function tellFailure(log: Pick<Log, "info" | "warn">, ended: EndedJob, outcome: Outcome): void {
  if (outcome.ok) return;
  const { requestId, endpoint, version } = ended.job;
  const { code, message: reason } = outcome.error;
  const fields = { requestId, endpoint, version, attempts: ended.attempts, code, reason };
  if (deadLetterOf(ended, outcome).deadLetter)
    log.warn({ ...fields, outcome: "dead letter" }, "a job has used up its attempts");
  else if (code === "pipeline_failed")
    log.warn({ ...fields, outcome: "failed" }, "the code of a pipeline failed");
  else if (code === "client_cancelled") log.info({ ...fields, outcome: "cancelled" }, "a job was cancelled");
  else log.info({ ...fields, outcome: "failed" }, "a job failed");
}

function lineOf({ id, atMs, event }: LoggedEvent): LoggedRequest["lines"] {
  if (event.type !== "log") return [];
  const { attempt, level, message } = event;
  return [{ attempt, level, message, id, atMs }];
}
