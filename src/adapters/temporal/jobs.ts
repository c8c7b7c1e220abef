import {
  type Client,
  isGrpcServiceError,
  WorkflowExecutionAlreadyStartedError,
  WorkflowFailedError,
  WorkflowNotFoundError,
} from "@temporalio/client";
import { ApplicationFailure, CancelledFailure } from "@temporalio/common";
import { CATALOGUE } from "../../core/errors/catalogue.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { SLOT_GRANTED_SIGNAL } from "../../core/owners/concurrency-slot.ts";
import { ORCHESTRATOR_QUEUE, priorityOf } from "../../core/requests/job.ts";
import type { Jobs } from "../../core/requests/jobs.ts";
import { identityOf, type Outcome, type RequestIdentity } from "../../core/requests/request.ts";
import { deliveryWorkflowId } from "../../core/webhooks/webhook.ts";
import { ENDPOINT_ATTRIBUTE, OWNER_ATTRIBUTE, VERSION_ATTRIBUTE } from "./search-attributes.ts";
import { within } from "./within.ts";

/** The workflow types that carry a request. */
const INFERENCE_JOB = "inferenceJob";
const PIPELINE = "pipeline";
const CARRIES_REQUEST = new Set([INFERENCE_JOB, PIPELINE]);

/** The signal of a pipeline that cancels one of its nodes. */
const CANCEL_NODE = "cancelNode";

/** gRPC: the server did not answer, or was too busy to. */
const GRPC_UNAVAILABLE = new Set([1, 4, 8, 14]);

const GRPC_NOT_FOUND = 5;

/** pendingActivities[].state: 2 STARTED, 3 CANCEL_REQUESTED. */
const RUNNING_STATES = new Set([2, 3]);

/** The jobs, kept by Temporal: one `inferenceJob` or `pipeline` workflow a request, its id the request id. */
export function createJobs(client: Client, { deadlineMs = 5_000 }: { deadlineMs?: number } = {}): Jobs {
  const call = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await within(deadlineMs, work());
    } catch (error) {
      const grpc = isGrpcServiceError(error)
        ? error
        : ((error as { cause?: unknown }).cause as { code?: number } | undefined);
      if (grpc && typeof grpc.code === "number" && GRPC_UNAVAILABLE.has(grpc.code)) {
        throw new TemperaError("temporal_unavailable", undefined, { cause: error });
      }
      throw error;
    }
  };
  const describe = (requestId: string) =>
    call(() => client.workflow.getHandle(requestId).describe()).catch((error) => {
      if (error instanceof WorkflowNotFoundError) return undefined;
      throw error;
    });

  return {
    async start(job) {
      await call(() =>
        client.workflow.start(job.pipeline ? PIPELINE : INFERENCE_JOB, {
          workflowId: job.requestId,
          taskQueue: ORCHESTRATOR_QUEUE,
          args: [job],
          workflowIdReusePolicy: "REJECT_DUPLICATE",
          workflowIdConflictPolicy: "FAIL",
          workflowTaskTimeout: "5s",
          priority: priorityOf(job),
          typedSearchAttributes: [
            { key: ENDPOINT_ATTRIBUTE, value: job.endpoint },
            { key: VERSION_ATTRIBUTE, value: job.version },
            { key: OWNER_ATTRIBUTE, value: job.ownerId },
          ],
          memo: { request: identityOf(job) },
          staticSummary: `${job.endpoint} ${job.version}`,
        }),
      ).catch((error) => {
        if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
      });
    },

    async cancel(requestId, node) {
      const workflowId = node?.pipelineId ?? requestId;
      const handle = client.workflow.getHandle(workflowId);
      try {
        await call<unknown>(() => (node ? handle.signal(CANCEL_NODE, requestId) : handle.cancel()));
        return "requested";
      } catch (error) {
        // Temporal answers the same for a closed workflow and for none.
        if (error instanceof WorkflowNotFoundError)
          return (await describe(workflowId)) ? "finished" : "unknown";
        throw error;
      }
    },

    async grantSlot(requestId) {
      try {
        await call(() => client.workflow.getHandle(requestId).signal(SLOT_GRANTED_SIGNAL));
        return true;
      } catch (error) {
        if (error instanceof WorkflowNotFoundError) return false;
        throw error;
      }
    },

    async describe(requestId) {
      const found = await describe(requestId);
      const identity = found?.memo?.request as RequestIdentity | undefined;
      if (!found || !CARRIES_REQUEST.has(found.type) || !identity) return undefined;
      const pending = found.raw.pendingActivities?.find(({ activityType }) => activityType?.name === "infer");
      // A pipeline waits for nothing itself.
      const running =
        found.type === PIPELINE || (pending !== undefined && RUNNING_STATES.has(pending.state ?? 0));
      return {
        ...identity,
        state: found.status.name !== "RUNNING" ? "COMPLETED" : running ? "IN_PROGRESS" : "IN_QUEUE",
        attempt: found.type === PIPELINE ? 1 : (pending?.attempt ?? 1),
        submittedAtMs: found.startTime.getTime(),
        ...(found.closeTime && { endedAtMs: found.closeTime.getTime() }),
      };
    },

    async describeNode(requestId, { pipelineId }) {
      const found = await describe(pipelineId);
      if (found?.status.name !== "RUNNING") return undefined;
      const pending = found.raw.pendingActivities?.find(({ activityId }) => activityId === requestId);
      // One that is neither waiting nor running has just ended: its record is on its way.
      const waits = pending !== undefined && !RUNNING_STATES.has(pending.state ?? 0);
      return { state: waits ? "IN_QUEUE" : "IN_PROGRESS", attempt: pending?.attempt ?? 1 };
    },

    async outcome(requestId) {
      const found = await describe(requestId);
      if (!found || !CARRIES_REQUEST.has(found.type) || found.status.name === "RUNNING") return undefined;
      try {
        return (await call(() => client.workflow.getHandle(requestId).result())) as Outcome;
      } catch (error) {
        return closedOutcome(error);
      }
    },

    async forget(requestId) {
      for (const workflowId of [requestId, deliveryWorkflowId(requestId)]) {
        const found = await call(() => client.workflow.getHandle(workflowId).describe()).catch((error) => {
          if (error instanceof WorkflowNotFoundError) return undefined;
          throw error;
        });
        // Temporal would end a running one.
        if (!found || found.status.name === "RUNNING") continue;
        const workflowExecution = { workflowId, runId: found.runId };
        await call(() =>
          client.workflowService.deleteWorkflowExecution({
            namespace: client.options.namespace,
            workflowExecution,
          }),
        ).catch((error) => {
          if ((error as { code?: number }).code !== GRPC_NOT_FOUND) throw error;
        });
      }
    },
  };
}

/**
 * A job that failed carries its outcome as the failure's first detail; one that was terminated by hand has
 * none.
 */
function closedOutcome(error: unknown): Outcome {
  if (!(error instanceof WorkflowFailedError)) throw error;
  const { cause } = error;
  if (cause instanceof ApplicationFailure && cause.details?.[0]) return cause.details[0] as Outcome;
  // A cancelled workflow closes without details; only its caller cancels one.
  if (cause instanceof CancelledFailure) {
    return {
      ok: false,
      error: { code: "client_cancelled", message: CATALOGUE.client_cancelled.message },
      metrics: {},
    };
  }
  return {
    ok: false,
    error: { code: "internal_error", message: "The job was ended by an operator before it had an outcome." },
    metrics: {},
  };
}
