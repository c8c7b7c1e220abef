import { setImmediate as nextTurn } from "node:timers/promises";
import { errorInfo, isInDoubt, isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import { writeJson } from "../../core/json/exact-json.ts";
import { identityOf } from "../../core/requests/request.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { NewRequestClaim } from "./claim-request.ts";
import { idempotencyKeyReused } from "./idempotency-key.ts";
import type { Submission } from "./submission.ts";

/** A job on its way into the queue. */
export interface QueuedJob {
  /**
   * Milliseconds that Temporal took to accept the job. Rejects with `temporal_unavailable`, and with
   * `idempotency_key_reused` when Temporal has another call's job under this key. Then the reservations are
   * released, and a job that Temporal may have accepted is withdrawn, if no idempotency key names it.
   */
  started: Promise<number>;
  /** Settles when the event log has the job or cannot be reached; never rejects. */
  announced: Promise<void>;
  /** Notes that the job has ended: from here on its finish step records what is known of it. */
  markEnded(): void;
}

interface QueueOptions {
  /** Milliseconds after which an unfinished request gets its row; a job that ends sooner saves one write. */
  recordAfterMs?: number;
  /**
   * The idempotency key that names the job. A job with a key whose start is in doubt is left to the next call
   * with that key. A shared one, which another call may be starting too, is announced only once Temporal has
   * started it for this call: it may be further by now.
   */
  claim?: NewRequestClaim | undefined;
}

type QueueApi = Pick<ApiDependencies, "jobs" | "withdrawJob" | "events" | "requests" | "log">;

/** Queues a job: starts it, then announces it, without waiting for the answer to the start. */
export function queueJob(
  api: QueueApi,
  submission: Submission,
  { recordAfterMs = 0, claim }: QueueOptions = {},
): QueuedJob {
  const { job, reservations, values } = submission;
  let recording: NodeJS.Timeout | undefined;
  const started = start();
  // The start leaves this process first: what it sets off takes longer than the announcement.
  const announced = claim?.shared ? Promise.resolve() : nextTurn().then(() => announce(api, submission));
  return { started, announced, markEnded };

  function markEnded(): void {
    clearTimeout(recording);
    reservations.markRecorded();
  }

  async function start(): Promise<number> {
    const startedAtMs = performance.now();
    const found = await api.jobs.start(job, claim?.fingerprint).catch(refuse);
    const startMs = performance.now() - startedAtMs;
    if (found === "exists" && claim) await assertSameCall(claim);
    claim?.markStarted?.();
    // It is new for certain now. Without its submit the event log could not be believed without PostgreSQL.
    if (found === "started" && claim?.shared) void announce(api, submission);
    if (recordAfterMs > 0) recording = setTimeout(() => record(api, submission), recordAfterMs).unref();
    else record(api, submission);
    return startMs;
  }

  /** Gives back what was taken for the job and withdraws it if it may have been accepted. */
  function refuse(error: unknown): never {
    reservations.release();
    const inDoubt = isInDoubt(error);
    // A job that rightly runs, for the next call with its key, still has events to come.
    const unannounce = inDoubt && claim ? "forget" : "drop";
    if (!claim?.shared) void announced.then(() => api.events[unannounce](job)).catch(() => {});
    if (!inDoubt) {
      claim?.release();
      values.discard();
    }
    // Without an idempotency key nobody will ask for that job, so it must not run.
    else if (!claim)
      api.withdrawJob({ requestId: job.requestId, request: identityOf(job) }, () => values.discard());
    if (!isTemperaError(error) || error.code !== "temporal_unavailable") throw error;
    throw new TemperaError("temporal_unavailable", refusalMessage(inDoubt, claim), { cause: error, inDoubt });
  }

  /**
   * Compares the call with the one whose job Temporal has under this id: the claim of that one may have been
   * made without PostgreSQL.
   */
  async function assertSameCall({ key, fingerprint, release }: NewRequestClaim): Promise<void> {
    const found = await api.jobs.describe(job.requestId);
    if (found?.fingerprint === undefined || found.fingerprint === fingerprint) return;
    reservations.release();
    values.discard();
    release();
    throw idempotencyKeyReused(key ?? "", job.requestId);
  }
}

/** Says what is true of a job that Temporal did not answer for. */
function refusalMessage(inDoubt: boolean, claim: NewRequestClaim | undefined): string {
  if (!inDoubt) return "The job queue cannot be reached; nothing was queued. Try again.";
  const doubt = "Temporal did not answer in time. It is not known whether the request was accepted;";
  return claim
    ? `${doubt} send it again unchanged, and it is not started twice.`
    : `${doubt} it is being withdrawn. Try again.`;
}

/** Inserts the request's row. From then on the request counts by the stores. */
function record(api: QueueApi, { job, reservations }: Submission): void {
  api.requests
    .insert(job)
    .catch((error) =>
      api.log.warn(
        { requestId: job.requestId, err: errorInfo(error) },
        "the request's row was not inserted; the job's finish step will insert it",
      ),
    )
    .finally(() => reservations.markRecorded());
}

/** Appends to the event log that the job waits, and the names of input fields that its model ignores. */
async function announce(api: QueueApi, { job, ignored, streamed = false }: Submission): Promise<void> {
  try {
    const appends = [api.events.append(job, { type: "queued", attempt: 0, ...(streamed && { streamed }) })];
    if (ignored.length > 0) {
      const message = ignoredFieldsMessage(ignored);
      appends.push(api.events.append(job, { type: "log", attempt: 0, level: "WARN", message }));
    }
    await Promise.all(appends);
  } catch (error) {
    api.log.warn(
      { requestId: job.requestId, err: errorInfo(error) },
      "the event log did not take the submit",
    );
  }
}

function ignoredFieldsMessage(ignored: string[]): string {
  const names = ignored
    .map((name) => writeJson(name.slice(0, 80)))
    .slice(0, 20)
    .join(", ");
  return `Ignored ${ignored.length === 1 ? "a field" : "fields"} this model does not know: ${names}`;
}
