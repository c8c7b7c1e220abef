import { type Client, WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from "@temporalio/client";
import { ORCHESTRATOR_QUEUE, PRIORITY_KEY } from "../../core/requests/job.ts";
import type { Sessions } from "../../core/requests/sessions.ts";
import { createTemporalCalls } from "./calls.ts";
import { ENDPOINT_ATTRIBUTE, OWNER_ATTRIBUTE, VERSION_ATTRIBUTE } from "./search-attributes.ts";

/** The workflow type that carries a session. */
const REALTIME_SESSION = "realtimeSession";

/**
 * Creates the port to realtime sessions on Temporal: one `realtimeSession` workflow per session, with the
 * session id as its workflow id.
 */
export function createSessions(client: Client, calls = createTemporalCalls(client)): Sessions {
  return {
    async start(session) {
      await calls
        .change(() =>
          client.workflow.start(REALTIME_SESSION, {
            workflowId: session.sessionId,
            taskQueue: ORCHESTRATOR_QUEUE,
            args: [session],
            workflowIdReusePolicy: "REJECT_DUPLICATE",
            workflowIdConflictPolicy: "FAIL",
            workflowTaskTimeout: "5s",
            priority: { priorityKey: PRIORITY_KEY.normal, fairnessKey: session.ownerId.slice(0, 64) },
            typedSearchAttributes: [
              { key: ENDPOINT_ATTRIBUTE, value: session.endpoint },
              { key: VERSION_ATTRIBUTE, value: session.version },
              { key: OWNER_ATTRIBUTE, value: session.ownerId },
            ],
            staticSummary: `realtime: ${session.endpoint} ${session.version}`,
          }),
        )
        .catch((error) => {
          if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
        });
    },

    async cancel(sessionId) {
      await calls
        .change(() => client.workflow.getHandle(sessionId).cancel())
        .catch((error) => {
          if (!(error instanceof WorkflowNotFoundError)) throw error;
        });
    },
  };
}
