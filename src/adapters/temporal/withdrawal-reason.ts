/** The reason with which a job or a session is terminated whose caller was answered with an error. */
export const WITHDRAWAL_REASON = "Withdrawn: its caller was answered that it may not have been accepted.";

/** The part of the closing event of a workflow's history that tells. */
interface CloseEvent {
  workflowExecutionTerminatedEventAttributes?: { reason?: string | null } | null;
}

/** Tells whether a workflow was closed by a withdrawal. */
export function isWithdrawal(event: CloseEvent | undefined): boolean {
  return event?.workflowExecutionTerminatedEventAttributes?.reason === WITHDRAWAL_REASON;
}
