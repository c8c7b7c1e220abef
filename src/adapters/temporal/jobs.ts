import {
  type Client,
  isGrpcServiceError,
  WorkflowExecutionAlreadyStartedError,
  type WorkflowExecutionDescription,
  WorkflowFailedError,
  WorkflowNotFoundError,
} from "@temporalio/client";
import { ApplicationFailure, CancelledFailure } from "@temporalio/common";
import { CATALOGUE } from "../../core/errors/catalogue.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { SLOT_GRANTED_SIGNAL } from "../../core/owners/concurrency-slot-store.ts";
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

/** gRPC status codes of a server that did not answer, or was too busy. */
const GRPC_UNAVAILABLE = new Set([1, 4, 8, 14]);

const GRPC_NOT_FOUND = 5;

/** Values of `pendingActivities[].state` while an attempt runs: 2 STARTED, 3 CANCEL_REQUESTED. */
const RUNNING_STATES = new Set([2, 3]);

/**
 * Creates the port to jobs on Temporal: one `inferenceJob` or `pipeline` workflow per request, with the
 * request id as its workflow id.
 *
 * @param deadlineMs longest wait for one reply of Temporal
 */
export function createJobs(client: Client, { deadlineMs = 5_000 }: { deadlineMs?: number } = {}): Jobs {
  const temporal = { client, call: calling(deadlineMs) };
  return { ...changes(temporal), ...queries(temporal), ...deletion(temporal) };
}

interface Temporal {
  client: Client;
  /**
   * Runs a request within the deadline. Rejects with `temporal_unavailable` when Temporal does not answer.
   */
  call<T>(work: () => Promise<T>): Promise<T>;
}

function calling(deadlineMs: number): Temporal["call"] {
  return async (work) => {
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
}

async function describeWorkflow(
  { client, call }: Temporal,
  workflowId: string,
): Promise<WorkflowExecutionDescription | undefined> {
  try {
    return await call(() => client.workflow.getHandle(workflowId).describe());
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined;
    throw error;
  }
}

const changes = (temporal: Temporal): Pick<Jobs, "start" | "cancel" | "grantSlot"> => ({
  async start(job) {
    await temporal
      .call(() =>
        temporal.client.workflow.start(job.pipeline ? PIPELINE : INFERENCE_JOB, {
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
      )
      .catch((error) => {
        if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
      });
  },

  async cancel(requestId, node) {
    const workflowId = node?.pipelineId ?? requestId;
    const handle = temporal.client.workflow.getHandle(workflowId);
    try {
      await temporal.call<unknown>(() => (node ? handle.signal(CANCEL_NODE, requestId) : handle.cancel()));
      return "requested";
    } catch (error) {
      // Temporal replies the same for a closed workflow and for an unknown one.
      if (error instanceof WorkflowNotFoundError)
        return (await describeWorkflow(temporal, workflowId)) ? "finished" : "unknown";
      throw error;
    }
  },

  async grantSlot(requestId) {
    try {
      await temporal.call(() => temporal.client.workflow.getHandle(requestId).signal(SLOT_GRANTED_SIGNAL));
      return true;
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false;
      throw error;
    }
  },
});

const queries = (temporal: Temporal): Pick<Jobs, "describe" | "describeNode" | "outcome"> => ({
  async describe(requestId) {
    const found = await describeWorkflow(temporal, requestId);
    const identity = found?.memo?.request as RequestIdentity | undefined;
    if (!found || !CARRIES_REQUEST.has(found.type) || !identity) return undefined;
    const pendingOf = (type: string) =>
      found.raw.pendingActivities?.find(({ activityType }) => activityType?.name === type);
    const pending = pendingOf("infer");
    // A pipeline itself never waits in a queue.
    const running =
      found.type === PIPELINE || (pending !== undefined && RUNNING_STATES.has(pending.state ?? 0));
    return {
      ...identity,
      state: found.status.name !== "RUNNING" ? "COMPLETED" : running ? "IN_PROGRESS" : "IN_QUEUE",
      attempt: found.type === PIPELINE ? 1 : (pending?.attempt ?? 1),
      submittedAtMs: found.startTime.getTime(),
      ...(found.closeTime && { endedAtMs: found.closeTime.getTime() }),
      ...(found.type === INFERENCE_JOB && pendingOf("recordOutcome") && { recording: true as const }),
    };
  },

  async describeNode(requestId, { pipelineId }) {
    const found = await describeWorkflow(temporal, pipelineId);
    if (found?.status.name !== "RUNNING") return undefined;
    const pending = found.raw.pendingActivities?.find(({ activityId }) => activityId === requestId);
    // A node that neither waits nor runs has just ended, and its record is being written.
    const waits = pending !== undefined && !RUNNING_STATES.has(pending.state ?? 0);
    return { state: waits ? "IN_QUEUE" : "IN_PROGRESS", attempt: pending?.attempt ?? 1 };
  },

  async outcome(requestId) {
    const found = await describeWorkflow(temporal, requestId);
    if (!found || !CARRIES_REQUEST.has(found.type) || found.status.name === "RUNNING") return undefined;
    try {
      return (await temporal.call(() => temporal.client.workflow.getHandle(requestId).result())) as Outcome;
    } catch (error) {
      return closedOutcome(error);
    }
  },
});

const deletion = (temporal: Temporal): Pick<Jobs, "forget"> => ({
  async forget(requestId) {
    const { client, call } = temporal;
    for (const workflowId of [requestId, deliveryWorkflowId(requestId)]) {
      const found = await describeWorkflow(temporal, workflowId);
      // The deletion of a running workflow would terminate it.
      if (!found || found.status.name === "RUNNING") continue;
      const workflowExecution = { workflowId, runId: found.runId };
      const { namespace } = client.options;
      await call(() =>
        client.workflowService.deleteWorkflowExecution({ namespace, workflowExecution }),
      ).catch((error) => {
        if ((error as { code?: number }).code !== GRPC_NOT_FOUND) throw error;
      });
    }
  },
});

/**
 * Returns the outcome of a workflow that did not complete. A failed job has it as the failure's first detail;
 * a terminated one has none.
 */
function closedOutcome(error: unknown): Outcome {
  if (!(error instanceof WorkflowFailedError)) throw error;
  const { cause } = error;
  if (cause instanceof ApplicationFailure && cause.details?.[0]) return cause.details[0] as Outcome;
  // A cancelled workflow closes without details. Only its caller cancels a job.
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
