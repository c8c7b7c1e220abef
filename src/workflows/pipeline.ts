import {
  CancellationScope,
  defineSignal,
  isCancellation,
  log,
  setHandler,
  sleep,
} from "@temporalio/workflow";
import type { Json, JsonObject } from "../core/json/json.ts";
import type { PipelinePlan } from "../core/pipelines/pipeline.ts";
import { identityOf, type Outcome } from "../core/requests/request.ts";
import { closeJob } from "./close-job.ts";
import { catalogueOutcome } from "./inference.ts";
import { failureOutcome, pipelineFailure } from "./pipeline-errors.ts";
import { pipelineEvents } from "./pipeline-events.ts";
import type { PipelineJob } from "./pipeline-node-job.ts";
import { PipelineNodes } from "./pipeline-nodes.ts";
import { PipelineValues } from "./pipeline-values.ts";
import type { RunNode } from "./pipelines/define-pipeline.ts";
import { codeOf, PIPELINES } from "./pipelines/index.ts";
import { runGraph } from "./run-graph.ts";
import { withSlot } from "./with-slot.ts";

/** Cancels one node, by its request id. */
const cancelNode = defineSignal<[string]>("cancelNode");

interface PipelineEnd {
  outcome: Outcome;
  exhausted: boolean;
  /** The error that the pipeline's own code threw. */
  thrown?: Error;
}

/**
 * The job of a pipeline: its nodes, each an inference activity on its model's task queue or a pipeline of its
 * own, then the finish step of every job. Its plan is code of the table of pipelines or a graph
 * (docs/architecture/03-pipelines.md).
 *
 * Closes as an inference job does. Nodes that still run when the pipeline ends are cancelled and recorded
 * first, whatever the reason for its end.
 */
export async function pipeline(job: PipelineJob): Promise<Outcome> {
  let thrown: Error | undefined;
  const ended = await withSlot(job, async () => {
    const startedAtMs = Date.now();
    pipelineEvents().started(identityOf(job));
    const { outcome, exhausted, ...end } = await runPipeline(job);
    thrown = end.thrown;
    return { job, outcome, attempts: 1, startedAtMs, exhausted, soleAttempt: true };
  });
  // Only the author of the pipeline can use the stack: it goes to the log and to Temporal, not to the caller.
  if (thrown) log.error(`the code of ${job.endpoint} failed`, { error: thrown });
  return closeJob({ ...ended, checkpointed: false }, thrown);
}

/** Runs the pipeline until its output, its failure, its cancel or its deadline. Never rejects. */
async function runPipeline(job: PipelineJob): Promise<PipelineEnd> {
  const { deadlineMs } = job.pipeline;
  const work = new CancellationScope();
  const deadline = new CancellationScope();
  let nodes: PipelineNodes | undefined;
  let overdue = false;
  setHandler(cancelNode, (requestId) => nodes?.cancel(requestId));
  deadline
    .run(() => sleep(Math.max(1, deadlineMs - Date.now())))
    .then(() => {
      overdue = true;
      work.cancel();
    })
    .catch(() => {});

  const queueSeconds = Math.max(0, Date.now() - job.submittedAtMs) / 1000;
  const end = await work
    .run(() =>
      produceOutput(job, (created) => {
        nodes = created;
      }),
    )
    .catch((error): PipelineEnd => {
      if (overdue) return { outcome: overdueOutcome(deadlineMs), exhausted: false };
      if (isCancellation(error)) return { outcome: catalogueOutcome("client_cancelled"), exhausted: false };
      return failureOutcome(error);
    });
  await CancellationScope.nonCancellable(async () => nodes?.stop());
  deadline.cancel();
  const metrics = { inference_time: nodes?.inferenceSeconds() ?? 0, queue_time: queueSeconds };
  return { ...end, outcome: { ...end.outcome, metrics } };
}

/**
 * Loads what the pipeline works with, carries out its plan and stores the output.
 *
 * @param onNodes receives the nodes before the first one runs, so that they can be cancelled
 */
async function produceOutput(
  job: PipelineJob,
  onNodes: (nodes: PipelineNodes) => void,
): Promise<PipelineEnd> {
  const { pipeline: part, requestId } = job;
  const values = new PipelineValues(job);
  const input = await values.load(job.input, "the pipeline's input");
  const plan = await values.loadPlan(part.plan, "the pipeline's plan");
  const targets = await values.loadPlan(part.callees, "the endpoints that the pipeline calls");
  const reusable = part.kept && (await values.loadPlan(part.kept, "the reused results of an earlier run"));
  const { overridesRef, overrides: few } = part;
  const overrides =
    overridesRef === undefined
      ? few
      : await values.load<Record<string, JsonObject>>({ ref: overridesRef }, "the nodes' changed fields");
  const nodesKnown = "graph" in plan ? plan.graph.nodes.length : 0;
  const nodes = new PipelineNodes(job, {
    values,
    targets,
    nodesKnown,
    ...(reusable && { reusable }),
    ...(overrides && { overrides }),
  });
  onNodes(nodes);
  const value = asObject(await runPlan(plan, input, nodes));
  const output = await values.store(value, { requestId, what: "output", label: "the pipeline's output" });
  return { outcome: { ok: true, output, metrics: {} }, exhausted: false };
}

async function runPlan(plan: PipelinePlan, input: JsonObject, nodes: PipelineNodes): Promise<Json> {
  if ("graph" in plan) return runGraph(plan.graph, input, nodes);
  const definition = PIPELINES.find((each) => codeOf(each) === plan.code);
  if (!definition)
    throw pipelineFailure(
      "pipeline_failed",
      `This version of the program has no pipeline ${plan.code} any more.`,
    );
  const run = (
    endpoint: string,
    input: JsonObject,
    { node }: { node?: string } = {},
  ): Promise<JsonObject> => {
    const output = nodes
      .run(endpoint, input, node)
      .then((stored) => nodes.read(stored, `the output of ${endpoint}`));
    // The pipeline may await it later, or never: its rejection must not fail the workflow task.
    output.catch(() => {});
    return output;
  };
  return definition.work({ input, run: run as RunNode, all: (all: Promise<unknown>[]) => Promise.all(all) });
}

/** Returns the output, which must be an object, since callers get an object. */
function asObject(output: unknown): JsonObject {
  if (typeof output === "object" && output !== null && !Array.isArray(output)) return output as JsonObject;
  const kind = Array.isArray(output) ? "a list" : output === null ? "null" : `a ${typeof output}`;
  throw pipelineFailure("pipeline_failed", `The pipeline's output is ${kind}, and it must be an object.`);
}

function overdueOutcome(deadlineMs: number): Outcome {
  const deadline = new Date(deadlineMs).toISOString();
  const message = `The pipeline did not end by ${deadline}, which was its deadline.`;
  return { ok: false, error: { code: "request_timeout", message }, metrics: {} };
}
