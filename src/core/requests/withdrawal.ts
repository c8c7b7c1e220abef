import type { EventLog } from "./event-log.ts";
import type { Jobs } from "./jobs.ts";
import type { RequestIdentity } from "./request.ts";

/**
 * A withdrawal ends a job, or a session, whose start was answered with an error although Temporal may have
 * accepted it. The gateway that answered tries until Temporal replies; a note of the withdrawal lets an
 * orchestrator finish it when the gateway has died.
 */
export interface Withdrawal {
  /** The workflow id: of a job the id of its request, else of the session. */
  requestId: string;
  /** The request of a job. */
  request?: RequestIdentity;
}

/**
 * Ends a job, or a session, whose start is in doubt. Returns at once.
 *
 * @param onWithdrawn called, in this process, when it is certain that the job has not run to an end
 */
export type WithdrawJob = (withdrawal: Withdrawal, onWithdrawn?: () => void) => void;

/** Stores notes of withdrawals. Every method rejects with `store_unavailable`. */
export interface WithdrawalStore {
  /** Notes a withdrawal. Noting it twice changes nothing. */
  note(withdrawal: Withdrawal): Promise<void>;

  /** Lists up to `limit` notes by id, from the one after `afterId`. */
  list(afterId: string | undefined, limit: number): Promise<Withdrawal[]>;

  /**
   * Records that Temporal does not know the job (yet). Once that was so `keptMs` ago, removes the note.
   */
  markUnknown(requestId: string, keptMs: number): Promise<void>;

  /** Removes the note of a withdrawal that is over. */
  remove(requestId: string): Promise<void>;
}

/**
 * Tries a withdrawal once. `ended`: the job had ended by itself. `unknown`: Temporal has no such job, and a
 * late start may still bring it. Rejects with `temporal_unavailable`.
 */
export async function tryWithdrawal(
  { jobs, events }: { jobs: Pick<Jobs, "withdraw">; events: Pick<EventLog, "announceCancel" | "drop"> },
  { requestId, request }: Withdrawal,
): Promise<"withdrawn" | "ended" | "unknown"> {
  const found = await jobs.withdraw(requestId);
  if (found === "withdrawn" && request) {
    // The announcement ends an attempt that runs; the worker may have written to the log meanwhile.
    await events.announceCancel(requestId).catch(() => {});
    await events.drop(request).catch(() => {});
  }
  return found;
}
