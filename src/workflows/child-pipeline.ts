/** A node that calls a pipeline: a child workflow, which records its own outcome. */
import { ChildWorkflowFailure, executeChild, isCancellation, ParentClosePolicy } from "@temporalio/workflow";
import type { InputFault } from "../core/errors/tempera-error.ts";
import { transientKey } from "../core/files/transient.ts";
import { inputHash } from "../core/json/input-hash.ts";
import type { JsonObject, Stored } from "../core/json/json.ts";
import type { CallTarget, PipelinePart, PipelinePlan } from "../core/pipelines/pipeline.ts";
import { type JobSpec, ORCHESTRATOR_QUEUE, priorityOf, SEARCH_ATTRIBUTES } from "../core/requests/job.ts";
import { identityOf, type Outcome } from "../core/requests/request.ts";
import { catalogueOutcome, type EndedJob, type FinishedWork } from "./inference.ts";
import { failureOutcome } from "./pipeline-errors.ts";
import type { PipelineJob } from "./pipeline-node-job.ts";
import { type PipelineValues, valueActivities } from "./pipeline-values.ts";

/** The caller's side of such a node. */
interface ParentPipeline {
  part: PipelinePart;
  values: PipelineValues;
  /** The nodes of the pipeline take concurrency slots. */
  slots: boolean;
}

/** Checks the node's input, then runs the pipeline that it calls. Never rejects: a failure is an outcome. */
export async function runChildPipeline(
  node: JobSpec,
  target: CallTarget & { kind: "pipeline" },
  input: JsonObject,
  { part, values, slots }: ParentPipeline,
): Promise<FinishedWork> {
  try {
    const checked = await checkInput(node, target);
    if ("faults" in checked) return refusedNode(node, checked.faults);
    const plan = await values.storePlan(target.plan as unknown as JsonObject, node.requestId);
    const pipeline: PipelinePart = {
      plan: plan as unknown as Stored<PipelinePlan>,
      callees: part.callees,
      depth: part.depth + 1,
      deadlineMs: part.deadlineMs,
      cache: part.cache,
      ...(slots && { slots }),
      ...(node.storeIo !== false && { givenHash: inputHash(input) }),
    };
    const outcome = await executePipeline({ ...node, input: checked.input, pipeline });
    return { job: node, outcome, attempts: 1, exhausted: false, recorded: true };
  } catch (error) {
    const ended = recordedEnd(error);
    if (ended) return { job: node, ...ended, attempts: 1, recorded: true };
    const failed = isCancellation(error)
      ? { outcome: catalogueOutcome("client_cancelled"), exhausted: false }
      : failureOutcome(error);
    return { job: node, attempts: 1, ...failed };
  }
}

/** The end of a node that did not run because its input has faults. */
export function refusedNode(job: JobSpec, faults: InputFault[]): FinishedWork {
  return { job, outcome: catalogueOutcome("input_invalid", { faults }), attempts: 0, exhausted: false };
}

function checkInput(node: JobSpec, target: CallTarget & { kind: "pipeline" }) {
  const unstored = node.storeIo === false;
  const key = unstored ? transientKey(node.requestId, "input") : `inputs/${node.requestId}-checked.json`;
  return valueActivities(`check the input of ${node.node?.id}`).checkPipelineInput({
    ownerId: node.ownerId,
    schema: target.input,
    input: node.input,
    key,
    ...(unstored && { apart: true as const }),
  });
}

function executePipeline(job: PipelineJob): Promise<Outcome> {
  return executeChild<(job: PipelineJob) => Promise<Outcome>>("pipeline", {
    workflowId: job.requestId,
    taskQueue: ORCHESTRATOR_QUEUE,
    args: [job],
    workflowTaskTimeout: "5s",
    parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
    priority: priorityOf(job),
    searchAttributes: {
      [SEARCH_ATTRIBUTES.endpoint]: [job.endpoint],
      [SEARCH_ATTRIBUTES.version]: [job.version],
      [SEARCH_ATTRIBUTES.owner]: [job.ownerId],
    },
    memo: { request: identityOf(job) },
    staticSummary: `${job.endpoint} · ${job.node?.id}`,
  });
}

/** Reads the end that a failed child workflow recorded: `closeJob` puts it into the failure's details. */
function recordedEnd(error: unknown): Pick<EndedJob, "outcome" | "exhausted"> | undefined {
  if (!(error instanceof ChildWorkflowFailure)) return undefined;
  const details = (error.cause as { details?: unknown[] } | undefined)?.details ?? [];
  const [outcome, exhausted] = details as [Outcome?, boolean?];
  return outcome && typeof outcome.ok === "boolean" ? { outcome, exhausted: exhausted === true } : undefined;
}
