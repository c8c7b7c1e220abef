import type { SlotHolder } from "../owners/concurrency-slot-store.ts";
import type { NodeRef } from "../pipelines/pipeline.ts";
import type { JobSpec } from "./job.ts";
import type { Outcome, RequestIdentity, RequestState } from "./request.ts";

/** The state of a job in Temporal, which is used when neither event log nor PostgreSQL knows it. */
export interface JobDescription extends RequestIdentity {
  state: RequestState;
  attempt: number;
  submittedAtMs: number;
  endedAtMs?: number;
  /** The job has an outcome, which may have been told, and waits for PostgreSQL to record it. */
  recording?: true;
  /**
   * The same may be so: a pipeline has an outcome that waits, and it may be that of another node, or of the
   * pipeline itself.
   */
  mayBeRecording?: true;
  /** The fingerprint of the call with an idempotency key that started the job. */
  fingerprint?: string;
}

/** Starts and reads jobs. Temporal has the truth about whether a job exists, runs, and how it ended. */
export interface Jobs {
  /**
   * Starts a job; resolves when Temporal has accepted it. Starting one twice is not an error: `exists` says
   * that there was one with this id. Rejects with `temporal_unavailable`; when the error is in doubt
   * (`isInDoubt`), the job may have been accepted.
   *
   * @param fingerprint of the call with an idempotency key that starts the job
   */
  start(job: JobSpec, fingerprint?: string): Promise<"started" | "exists">;
  /**
   * Ends a job, or a session, whose caller was answered with an error: without an outcome, and so without a
   * webhook, a dead letter and an entry in the usage ledger. From then on it is unknown to the other methods.
   * `ended`: it had ended by itself; `unknown`: there is none, or not yet. Rejects with
   * `temporal_unavailable`.
   */
  withdraw(requestId: string): Promise<"withdrawn" | "ended" | "unknown">;
  /**
   * Requests the cancel of a job. `finished`: it had ended; `unknown`: there is none. Rejects with
   * `temporal_unavailable`.
   *
   * @param node present for a node of a pipeline: the pipeline cancels it, and its code handles the failure
   */
  cancel(requestId: string, node?: NodeRef): Promise<"requested" | "finished" | "unknown">;
  /**
   * Notifies a waiting job, or the pipeline of a waiting node, that it was granted a concurrency slot; false
   * when that has ended or is unknown.
   * Rejects with `temporal_unavailable`.
   */
  grantSlot(holder: SlotHolder): Promise<boolean>;
  describe(requestId: string): Promise<JobDescription | undefined>;
  /** Returns the state of a node while its pipeline runs; `undefined` when that does not run. */
  describeNode(
    requestId: string,
    node: NodeRef,
  ): Promise<Pick<JobDescription, "state" | "attempt" | "mayBeRecording"> | undefined>;
  /** Returns the outcome of a closed job; `undefined` while it runs or when it is unknown. */
  outcome(requestId: string): Promise<Outcome | undefined>;
  /**
   * Deletes a closed job and its delivery from Temporal. Unknown and running ones are left as they are.
   */
  forget(requestId: string): Promise<void>;
}
