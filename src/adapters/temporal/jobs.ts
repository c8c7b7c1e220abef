import {
  type Client,
  WorkflowExecutionAlreadyStartedError,
  type WorkflowExecutionDescription,
  WorkflowFailedError,
  WorkflowNotFoundError,
} from "@temporalio/client";
import { ApplicationFailure, CancelledFailure } from "@temporalio/common";
import { CATALOGUE } from "../../core/errors/catalogue.ts";
import { SLOT_GRANTED_SIGNAL } from "../../core/owners/concurrency-slot-store.ts";
import { type JobSpec, ORCHESTRATOR_QUEUE, priorityOf } from "../../core/requests/job.ts";
import type { Jobs } from "../../core/requests/jobs.ts";
import { identityOf, type Outcome, type RequestIdentity } from "../../core/requests/request.ts";
import { deliveryWorkflowId } from "../../core/webhooks/webhook.ts";
import { createTemporalCalls, type TemporalCalls } from "./calls.ts";
import { ENDPOINT_ATTRIBUTE, OWNER_ATTRIBUTE, VERSION_ATTRIBUTE } from "./search-attributes.ts";
import { isWithdrawal, WITHDRAWAL_REASON } from "./withdrawal-reason.ts";

/** The workflow types that carry a request. */
const INFERENCE_JOB = "inferenceJob";
const PIPELINE = "pipeline";
const CARRIES_REQUEST = new Set([INFERENCE_JOB, PIPELINE]);

/** The signal of a pipeline that cancels one of its nodes. */
const CANCEL_NODE = "cancelNode";

const GRPC_NOT_FOUND = 5;

/** HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT of Temporal's API. */
const CLOSE_EVENT = 2;

/** Values of `pendingActivities[].state` while an attempt runs: 2 STARTED, 3 CANCEL_REQUESTED. */
const RUNNING_STATES = new Set([2, 3]);

/**
 * Creates the port to jobs on Temporal: one `inferenceJob` or `pipeline` workflow per request, with the
 * request id as its workflow id.
 */
export function createJobs(client: Client, calls = createTemporalCalls(client)): Jobs {
  const temporal = { client, calls };
  return { ...changes(temporal), ...queries(temporal), ...deletion(temporal) };
}

interface Temporal {
  client: Client;
  calls: TemporalCalls;
}

/** Describes a workflow; a withdrawn one counts as unknown. */
async function describeWorkflow(
  temporal: Temporal,
  workflowId: string,
): Promise<WorkflowExecutionDescription | undefined> {
  const { client, calls } = temporal;
  try {
    const found = await calls.read(() => client.workflow.getHandle(workflowId).describe());
    return found.status.name === "TERMINATED" && (await isWithdrawn(temporal, found)) ? undefined : found;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined;
    throw error;
  }
}

/** Reads why a workflow was terminated. */
async function isWithdrawn(
  { client, calls }: Temporal,
  { workflowId, runId }: WorkflowExecutionDescription,
): Promise<boolean> {
  const { history } = await calls.read(() =>
    client.workflowService.getWorkflowExecutionHistory({
      namespace: client.options.namespace,
      execution: { workflowId, runId },
      historyEventFilterType: CLOSE_EVENT,
    }),
  );
  return isWithdrawal(history?.events?.at(-1));
}

const startOptions = (job: JobSpec, fingerprint: string | undefined) => ({
  workflowId: job.requestId,
  taskQueue: ORCHESTRATOR_QUEUE,
  args: [job],
  workflowIdReusePolicy: "REJECT_DUPLICATE" as const,
  workflowIdConflictPolicy: "FAIL" as const,
  workflowTaskTimeout: "5s" as const,
  priority: priorityOf(job),
  typedSearchAttributes: [
    { key: ENDPOINT_ATTRIBUTE, value: job.endpoint },
    { key: VERSION_ATTRIBUTE, value: job.version },
    { key: OWNER_ATTRIBUTE, value: job.ownerId },
  ],
  memo: { request: identityOf(job), ...(fingerprint !== undefined && { fingerprint }) },
  staticSummary: `${job.endpoint} ${job.version}`,
});

const changes = (temporal: Temporal): Pick<Jobs, "start" | "withdraw" | "cancel" | "grantSlot"> => ({
  async start(job, fingerprint) {
    try {
      await temporal.calls.change(() =>
        temporal.client.workflow.start(
          job.pipeline ? PIPELINE : INFERENCE_JOB,
          startOptions(job, fingerprint),
        ),
      );
      return "started";
    } catch (error) {
      if (error instanceof WorkflowExecutionAlreadyStartedError) return "exists";
      throw error;
    }
  },

  async withdraw(requestId) {
    const { client, calls } = temporal;
    try {
      await calls.change(() => client.workflow.getHandle(requestId).terminate(WITHDRAWAL_REASON));
      return "withdrawn";
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error;
    }
    // Temporal replies the same for a closed workflow and for an unknown one.
    try {
      const found = await calls.read(() => client.workflow.getHandle(requestId).describe());
      return (await isWithdrawn(temporal, found)) ? "withdrawn" : "ended";
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return "unknown";
      throw error;
    }
  },

  async cancel(requestId, node) {
    const workflowId = node?.pipelineId ?? requestId;
    const handle = temporal.client.workflow.getHandle(workflowId);
    try {
      await temporal.calls.change<unknown>(() =>
        node ? handle.signal(CANCEL_NODE, requestId) : handle.cancel(),
      );
      return "requested";
    } catch (error) {
      // Temporal replies the same for a closed workflow and for an unknown one.
      if (error instanceof WorkflowNotFoundError)
        return (await describeWorkflow(temporal, workflowId)) ? "finished" : "unknown";
      throw error;
    }
  },

  async grantSlot({ requestId, workflowId }) {
    const handle = temporal.client.workflow.getHandle(workflowId ?? requestId);
    const node = workflowId === undefined ? [] : [requestId];
    try {
      await temporal.calls.change(() => handle.signal(SLOT_GRANTED_SIGNAL, ...node));
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
      ...(typeof found.memo?.fingerprint === "string" && { fingerprint: found.memo.fingerprint }),
      ...(found.closeTime && { endedAtMs: found.closeTime.getTime() }),
      ...(pendingOf("recordOutcome") &&
        (found.type === INFERENCE_JOB
          ? { recording: true as const }
          : found.type === PIPELINE && { mayBeRecording: true as const })),
    };
  },

  async describeNode(requestId, { pipelineId }) {
    const found = await describeWorkflow(temporal, pipelineId);
    if (found?.status.name !== "RUNNING") return undefined;
    const activities = found.raw.pendingActivities ?? [];
    const pending = activities.find(({ activityId }) => activityId === requestId);
    // A node that neither waits nor runs has just ended, and its record is being written.
    const waits = pending !== undefined && !RUNNING_STATES.has(pending.state ?? 0);
    const mayBeRecording =
      !pending && activities.some(({ activityType }) => activityType?.name === "recordOutcome");
    return {
      state: waits ? "IN_QUEUE" : "IN_PROGRESS",
      attempt: pending?.attempt ?? 1,
      ...(mayBeRecording && { mayBeRecording }),
    };
  },

  async outcome(requestId) {
    const found = await describeWorkflow(temporal, requestId);
    if (!found || !CARRIES_REQUEST.has(found.type) || found.status.name === "RUNNING") return undefined;
    try {
      return (await temporal.calls.read(() =>
        temporal.client.workflow.getHandle(requestId).result(),
      )) as Outcome;
    } catch (error) {
      return closedOutcome(error);
    }
  },
});

const deletion = (temporal: Temporal): Pick<Jobs, "forget"> => ({
  async forget(requestId) {
    const { client, calls } = temporal;
    for (const workflowId of [requestId, deliveryWorkflowId(requestId)]) {
      const found = await describeWorkflow(temporal, workflowId);
      // The deletion of a running workflow would terminate it.
      if (!found || found.status.name === "RUNNING") continue;
      const workflowExecution = { workflowId, runId: found.runId };
      const { namespace } = client.options;
      await calls
        .change(() => client.workflowService.deleteWorkflowExecution({ namespace, workflowExecution }))
        .catch((error) => {
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
