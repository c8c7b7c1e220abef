import { proxyActivities } from "@temporalio/workflow";
import type { SessionActivities } from "../activities/index.ts";
import { PRIORITY_KEY } from "../core/requests/job.ts";
import type { SessionEnd, SessionSpec } from "../core/requests/session.ts";

/**
 * A realtime session: one activity that holds an engine's slot for as long as the caller's socket is open,
 * and is tried again elsewhere when its GPU worker is lost. No frame passes through here.
 *
 * Returns how it ended. Closes as cancelled when its gateway gave it up before a slot was free, and as failed
 * when no worker took it in time or the attempts were used up.
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
