import {
  CancellationScope,
  defineSignal,
  isCancellation,
  proxySinks,
  type Sinks,
  setHandler,
  sleep,
} from "@temporalio/workflow";
import type { PipelineNews } from "../activities/index.ts";
import { CATALOGUE } from "../core/errors/catalogue.ts";
import type { Json, JsonObject } from "../core/json/json.ts";
import { LIMITS } from "../core/limits.ts";
import type { PipelinePlan } from "../core/pipelines/pipeline.ts";
import { identityOf, type Outcome } from "../core/requests/request.ts";
import { closeJob } from "./close-job.ts";
import { faultOutcome, pipelineFault } from "./pipeline-errors.ts";
import { createPipelineNodes, type PipelineJob, type PipelineNodes } from "./pipeline-nodes.ts";
import { createPipelineValues } from "./pipeline-values.ts";
import type { RunNode } from "./pipelines/define-pipeline.ts";
import { codeOf, PIPELINES } from "./pipelines/index.ts";
import { inPlace } from "./with-slot.ts";
import { runGraph } from "./run-graph.ts";

interface PipelineSinks extends Sinks {
  news: PipelineNews;
}

/** Cancels one node, by its request id. */
const cancelNode = defineSignal<[string]>("cancelNode");

/**
 * The job of a pipeline: its nodes, each an inference activity on its model's task queue or a pipeline of its
 * own, then the finish step of every job. What it does is code of the table of pipelines or a graph
 * (docs/architecture/03-pipelines.md).
 *
 * Closes as an inference job does. Nodes that still run at its end, for whatever reason it ends, are
 * cancelled and recorded first.
 */
export async function pipeline(job: PipelineJob): Promise<Outcome> {
  const ended = await inPlace(job, async () => {
    const startedAtMs = Date.now();
    proxySinks<PipelineSinks>().news.began(identityOf(job));
    const { outcome, exhausted } = await carryOut(job);
    return { job, outcome, attempts: 1, startedAtMs, exhausted };
  });
  return closeJob({ ...ended, checkpointed: false });
}

/** How it ends; never rejects. */
async function carryOut(job: PipelineJob): Promise<{ outcome: Outcome; exhausted: boolean }> {
  const { pipeline: part } = job;
  const values = createPipelineValues(job);
  const work = new CancellationScope();
  const deadline = new CancellationScope();
  let nodes: PipelineNodes | undefined;
  let overdue = false;
  setHandler(cancelNode, (requestId) => nodes?.cancel(requestId));
  deadline
    .run(() => sleep(Math.max(1, part.deadlineMs - Date.now())))
    .then(() => {
      overdue = true;
      work.cancel();
    })
    .catch(() => {});

  const queueSeconds = Math.max(0, Date.now() - job.submittedAtMs) / 1000;
  const ended = async (): Promise<{ outcome: Outcome; exhausted: boolean }> => {
    try {
      const output = await work.run(async () => {
        const input = await values.load(job.input, "the pipeline's input");
        const plan = await values.load(part.plan, "the pipeline's plan", LIMITS.pipelinePlanBytesMax);
        const callees = await values.load(
          part.callees,
          "what the pipeline calls",
          LIMITS.pipelinePlanBytesMax,
        );
        const kept =
          part.kept &&
          (await values.load(part.kept, "what is kept of an earlier run", LIMITS.pipelinePlanBytesMax));
        const nodesKnown = "graph" in plan ? plan.graph.nodes.length : 0;
        nodes = createPipelineNodes(job, { values, callees, nodesKnown, ...(kept && { kept }) });
        const made = asObject(await runPlan(plan, input, nodes));
        return values.keep(made, {
          requestId: job.requestId,
          what: "output",
          called: "the pipeline's output",
        });
      });
      return { outcome: { ok: true, output, metrics: {} }, exhausted: false };
    } catch (error) {
      if (overdue) return overdueOutcome(part.deadlineMs);
      if (isCancellation(error)) return cancelledOutcome;
      return faultOutcome(error);
    }
  };
  const { outcome, exhausted } = await ended();
  await CancellationScope.nonCancellable(async () => nodes?.stop());
  deadline.cancel();
  const metrics = { inference_time: nodes?.inferenceSeconds() ?? 0, queue_time: queueSeconds };
  return { outcome: { ...outcome, metrics }, exhausted };
}

async function runPlan(plan: PipelinePlan, input: JsonObject, nodes: PipelineNodes): Promise<Json> {
  if ("graph" in plan) return runGraph(plan.graph, input, nodes);
  const definition = PIPELINES.find((each) => codeOf(each) === plan.code);
  if (!definition)
    throw pipelineFault(
      "pipeline_failed",
      `The pipeline ${plan.code} is not in this version of the program any more.`,
    );
  const run = (
    endpoint: string,
    given: JsonObject,
    { node }: { node?: string } = {},
  ): Promise<JsonObject> => {
    const output = nodes
      .run(endpoint, given, node)
      .then((stored) => nodes.look(stored, `the output of ${endpoint}`));
    // It may be waited for later, or never: its failure must not end the workflow's task.
    output.catch(() => {});
    return output;
  };
  return definition.work({ input, run: run as RunNode, all: (all: Promise<unknown>[]) => Promise.all(all) });
}

/** What a caller is answered is an object. */
function asObject(output: unknown): JsonObject {
  if (typeof output === "object" && output !== null && !Array.isArray(output)) return output as JsonObject;
  const kind = Array.isArray(output) ? "a list" : output === null ? "null" : `a ${typeof output}`;
  throw pipelineFault("pipeline_failed", `The pipeline's output is ${kind}, and it must be an object.`);
}

const cancelledOutcome = {
  outcome: {
    ok: false as const,
    error: { code: "client_cancelled" as const, message: CATALOGUE.client_cancelled.says },
    metrics: {},
  },
  exhausted: false,
};

function overdueOutcome(deadlineMs: number): { outcome: Outcome; exhausted: boolean } {
  const message = `The pipeline did not end by ${new Date(deadlineMs).toISOString()}, which was as long as it may take.`;
  return {
    outcome: { ok: false, error: { code: "request_timeout", message }, metrics: {} },
    exhausted: false,
  };
}
