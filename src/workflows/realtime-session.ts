import { proxyActivities } from "@temporalio/workflow";
import type { SessionActivities } from "../activities/index.ts";
import { PRIORITY_KEY } from "../core/requests/job.ts";
import type { SessionEnd, SessionSpec } from "../core/requests/session.ts";

/**
 * A realtime session: one activity that holds an engine slot while the caller's socket is open. It is retried
 * on another GPU worker when its own is lost. No frame passes through Temporal.
 *
 * Returns the reason for the end. Closes as cancelled when the gateway gave the session up before a slot was
 * free, and as failed when no worker took it in time or the attempts were exhausted.
 */
export async function realtimeSession(session: SessionSpec): Promise<SessionEnd> {
  const { holdSession } = proxyActivities<SessionActivities>({
    taskQueue: session.taskQueue,
    scheduleToStartTimeout: session.startMs,
    scheduleToCloseTimeout: session.startMs + session.sessionMs,
    heartbeatTimeout: session.heartbeatMs,
    retry: {
      maximumAttempts: session.retry.attemptsMax,
      initialInterval: session.retry.initialMs,
      backoffCoefficient: session.retry.backoff,
      maximumInterval: Math.max(session.retry.maximumMs, session.retry.initialMs),
    },
    priority: { priorityKey: PRIORITY_KEY.normal, fairnessKey: session.ownerId.slice(0, 64) },
    cancellationType: "TRY_CANCEL",
    summary: `${session.endpoint} ${session.version}`,
  });
  return holdSession(session);
}
