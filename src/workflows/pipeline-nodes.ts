/** The nodes of one run of a pipeline: each call of an endpoint, as a request of its own. */
import {
  CancellationScope,
  CancelledFailure,
  ChildWorkflowFailure,
  executeChild,
  isCancellation,
  ParentClosePolicy,
  proxySinks,
  type Sinks,
  uuid4,
} from "@temporalio/workflow";
import type { PipelineNews } from "../activities/index.ts";
import { CATALOGUE } from "../core/errors/catalogue.ts";
import type { InputFault } from "../core/errors/tempera-error.ts";
import { inputHash } from "../core/json/input-hash.ts";
import { type JobSpec, ORCHESTRATOR_QUEUE, priorityOf, SEARCH_ATTRIBUTES } from "../core/requests/job.ts";
import type { JsonObject, Stored } from "../core/json/json.ts";
import { LIMITS } from "../core/limits.ts";
import {
  type Callee,
  type KeptNode,
  PIPELINE_QUEUE,
  type PipelinePart,
  type PipelinePlan,
} from "../core/pipelines/pipeline.ts";
import { identityOf, type Outcome } from "../core/requests/request.ts";
import { transientKey } from "../core/files/stored-value.ts";
import { type Ended, recordOutcome, runInference } from "./inference.ts";
import { faultOutcome, nodeFault, pipelineFault } from "./pipeline-errors.ts";
import { type PipelineValues, valueActivities } from "./pipeline-values.ts";
import { createTurns } from "./semaphore.ts";

export type PipelineJob = JobSpec & { pipeline: PipelinePart };

export interface PipelineNodes {
  /**
   * Calls an endpoint. Rejects with `nodeFault` when the node has failed for good, with `pipelineFault` when
   * it is one too many, and as cancelled when the pipeline is.
   *
   * @param name by default made of the endpoint and a number
   */
  run(endpoint: string, input: JsonObject, name?: string): Promise<Stored<JsonObject>>;
  /** What a node gave, for who looks into it. */
  look(stored: Stored<JsonObject>, called: string): Promise<JsonObject>;
  /**
   * A node that fails without having run: what it should be given cannot be made. Rejects with `nodeFault`.
   */
  refuse(endpoint: string, input: JsonObject, name: string, faults: InputFault[]): Promise<never>;
  /** Cancels one node; nothing happens when it has ended. */
  cancel(requestId: string): void;
  /** Cancels what still runs and resolves when all of it is recorded. Nothing is begun afterwards. */
  stop(): Promise<void>;
  /** Seconds of inference of all nodes together. */
  inferenceSeconds(): number;
}

interface NodeSinks extends Sinks {
  news: PipelineNews;
}

/** @param nodesKnown how many it has at least, where that is known before they are run */
export function createPipelineNodes(
  job: PipelineJob,
  {
    values,
    callees,
    kept = {},
    nodesKnown = 0,
  }: {
    values: PipelineValues;
    callees: Record<string, Callee>;
    kept?: Record<string, KeptNode>;
    nodesKnown?: number;
  },
): PipelineNodes {
  const { pipeline: part } = job;
  const { news } = proxySinks<NodeSinks>();
  const identity = identityOf(job);
  const turns = createTurns(LIMITS.pipelineNodesAtOnce);
  const names = new Set<string>();
  const running = new Map<string, CancellationScope>();
  const ending = new Set<Promise<unknown>>();
  let numbered = 0;
  let done = 0;
  let seconds = 0;
  let stopped = false;

  const progress = () => ({ done, of: Math.max(names.size, nodesKnown) });
  /** Asked from where the pipeline's own code runs, not from within a node. */
  const pipelineEnds = () => stopped || CancellationScope.current().consideredCancelled;
  const cancelled = () => new CancelledFailure("The pipeline was cancelled.");

  async function run(
    endpoint: string,
    given: JsonObject,
    name = nextName(endpoint),
  ): Promise<Stored<JsonObject>> {
    const callee = admit(endpoint, name);
    const override = own(part.overrides, name);
    const input = override ? { ...given, ...override } : given;
    values.refuseLarge(input, inputOf(name));
    // What an override changes shows in the input; one that an earlier rerun made is in the earlier input
    // too.
    const earlier = name === part.from ? undefined : own(kept, name);
    if (
      earlier &&
      earlier.endpoint === endpoint &&
      earlier.version === callee.version &&
      earlier.inputHash === inputHash(input)
    ) {
      return keepNode(name, earlier);
    }
    await turns.take();
    try {
      // Others may have failed while it waited for its turn.
      if (pipelineEnds()) throw cancelled();
      const requestId = uuid4();
      const stored = await values.keep(input, { requestId, what: "input", called: inputOf(name) });
      return await outputOf(nodeJob(requestId, callee, stored, name), name, (node) =>
        call(node, callee, input),
      );
    } finally {
      turns.give();
    }
  }

  async function refuse(
    endpoint: string,
    input: JsonObject,
    name: string,
    faults: InputFault[],
  ): Promise<never> {
    const requestId = uuid4();
    const callee = admit(endpoint, name);
    const node = nodeJob(
      requestId,
      callee,
      await values.keep(input, { requestId, what: "input", called: inputOf(name) }),
      name,
    );
    await outputOf(node, name, async () => refused(node, faults));
    throw cancelled();
  }

  /** Whether one more node may be begun, and what it calls. */
  function admit(endpoint: string, name: string): Callee {
    if (pipelineEnds()) throw cancelled();
    const callee = own(callees, endpoint);
    if (!callee)
      throw pipelineFault(
        "pipeline_failed",
        `The pipeline called ${endpoint}, which is not among its calls; name it there.`,
      );
    if (names.has(name))
      throw pipelineFault("pipeline_failed", `Two nodes are called ${name}; give each a name of its own.`);
    if (names.size >= LIMITS.pipelineNodesMax) {
      throw pipelineFault(
        "pipeline_limit",
        `A pipeline may have ${LIMITS.pipelineNodesMax} nodes, and ${name} is one too many.`,
      );
    }
    if (callee.kind === "pipeline" && part.depth + 1 >= LIMITS.pipelineDepthMax) {
      throw pipelineFault(
        "pipeline_limit",
        `Pipelines may be nested ${LIMITS.pipelineDepthMax} deep, and ${name} (${endpoint}) is deeper.`,
      );
    }
    names.add(name);
    return callee;
  }

  /** As fal's SDK names nodes (contract §11.4). */
  function nextName(endpoint: string): string {
    for (;;) {
      const name = `${endpoint.replace(/[^A-Za-z0-9]/g, "_")}_${++numbered}`;
      if (!names.has(name)) return name;
    }
  }

  function keepNode(node: string, { requestId, endpoint, output }: KeptNode): Stored<JsonObject> {
    const about = { node, endpoint, requestId };
    done++;
    news.kept(identity, about, output, progress());
    return output;
  }

  const nodeJob = (requestId: string, callee: Callee, input: Stored<JsonObject>, name: string): JobSpec => ({
    requestId,
    ownerId: job.ownerId,
    keyId: job.keyId,
    endpoint: callee.endpoint,
    version: callee.version,
    taskQueue: callee.kind === "model" ? callee.taskQueue : PIPELINE_QUEUE,
    priority: job.priority,
    node: { pipelineId: job.requestId, id: name },
    modelDigest: callee.digest,
    input,
    submittedAtMs: Date.now(),
    // The caller's time to start is the time in which the first nodes must.
    ...(job.startTimeoutMs !== undefined &&
      done === 0 && { startTimeoutMs: Math.max(1, job.submittedAtMs + job.startTimeoutMs - Date.now()) }),
    ...(job.direct && { direct: true }),
    ...(job.weight !== undefined && { weight: job.weight }),
    ...(job.lifecycle && { lifecycle: job.lifecycle }),
    ...(callee.kind === "model" && callee.price && { price: callee.price }),
    // What is not to be kept is not kept for later runs either.
    ...(job.storeIo === false
      ? { storeIo: job.storeIo }
      : part.cache && name !== part.from && { cache: true }),
    retry:
      callee.kind === "model"
        ? {
            ...callee.retry,
            attemptsMax: Math.min(callee.retry.attemptsMax, job.retry.attemptsMax),
            ...(job.retry.limits && { limits: job.retry.limits }),
          }
        : job.retry,
    timeouts: callee.kind === "model" ? callee.timeouts : job.timeouts,
  });

  /** Carries a node to its end, and tells of it. */
  function outputOf(
    node: JobSpec,
    name: string,
    work: (node: JobSpec) => Promise<NodeEnd>,
  ): Promise<Stored<JsonObject>> {
    const about = { node: name, endpoint: node.endpoint, requestId: node.requestId };
    const scope = new CancellationScope();
    running.set(node.requestId, scope);
    news.submitted(identity, about, node);
    const carried = (async () => {
      const ended = await scope.run(() => work(node));
      // The record comes before the news, so that whoever hears of the end finds it.
      const { recorded, ...end } = ended;
      const outcome = recorded ? end.outcome : await record(withReason(end));
      running.delete(node.requestId);
      seconds += outcome.metrics.inference_time ?? 0;
      if (outcome.ok) {
        done++;
        news.ended(identity, about, {
          change: "completed",
          output: outcome.output,
          cache: outcome.cache ?? "miss",
          nodes: progress(),
        });
        return outcome.output;
      }
      news.ended(identity, about, { change: "failed", error: outcome.error });
      if (pipelineEnds()) throw cancelled();
      throw nodeFault(name, outcome, ended.exhausted);
    })();
    ending.add(carried);
    const forget = () => void ending.delete(carried);
    carried.then(forget, forget);
    return carried;
  }

  /** A node that was cancelled with its pipeline says so. */
  const withReason = (end: Ended): Ended =>
    pipelineEnds() && !end.outcome.ok && end.outcome.error.code === "client_cancelled"
      ? {
          ...end,
          outcome: {
            ...end.outcome,
            error: { code: "client_cancelled", message: "Its pipeline ended before it did." },
          },
        }
      : end;

  const call = (node: JobSpec, callee: Callee, given: JsonObject): Promise<NodeEnd> =>
    callee.kind === "model"
      ? runInference(node, { activityId: node.requestId, summary: `${node.endpoint} · ${node.node?.id}` })
      : runPipeline(node, callee, given);

  /** A node that calls a pipeline: a workflow of its own, which records its own end. */
  async function runPipeline(
    node: JobSpec,
    callee: Callee & { kind: "pipeline" },
    given: JsonObject,
  ): Promise<NodeEnd> {
    try {
      const unstored = node.storeIo === false;
      const key = unstored ? transientKey(node.requestId, "input") : `inputs/${node.requestId}-checked.json`;
      const checked = await valueActivities(`check the input of ${node.node?.id}`).checkPipelineInput({
        schema: callee.input,
        input: node.input,
        key,
        ...(unstored && { apart: true as const }),
      });
      if ("faults" in checked) return refused(node, checked.faults);
      const { plan } = callee;
      const { callees: stored, deadlineMs, cache, depth } = part;
      const kept = await values.keepPlan(plan as unknown as JsonObject, node.requestId);
      const pipeline: PipelinePart = {
        plan: kept as unknown as Stored<PipelinePlan>,
        callees: stored,
        depth: depth + 1,
        deadlineMs,
        cache,
        ...(node.storeIo !== false && { givenHash: inputHash(given) }),
      };
      const child: PipelineJob = { ...node, input: checked.input, pipeline };
      const outcome = await executeChild<(job: PipelineJob) => Promise<Outcome>>("pipeline", {
        workflowId: node.requestId,
        taskQueue: ORCHESTRATOR_QUEUE,
        args: [child],
        workflowTaskTimeout: "5s",
        parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
        priority: priorityOf(node),
        searchAttributes: {
          [SEARCH_ATTRIBUTES.endpoint]: [node.endpoint],
          [SEARCH_ATTRIBUTES.version]: [node.version],
          [SEARCH_ATTRIBUTES.owner]: [node.ownerId],
        },
        memo: { request: identityOf(node) },
        staticSummary: `${node.endpoint} · ${node.node?.id}`,
      });
      return { job: node, outcome, attempts: 1, exhausted: false, recorded: true };
    } catch (error) {
      const ended = childEnd(error);
      return ended
        ? { job: node, ...ended, attempts: 1, recorded: true }
        : { job: node, attempts: 1, ...(isCancellation(error) ? cancelledEnd : faultOutcome(error)) };
    }
  }

  return {
    run,
    look: (stored, called) => values.load(stored, called),
    refuse,
    cancel: (requestId) => running.get(requestId)?.cancel(),
    async stop() {
      stopped = true;
      for (const scope of running.values()) scope.cancel();
      while (ending.size > 0) await Promise.allSettled([...ending]);
    },
    inferenceSeconds: () => Math.round(seconds * 1000) / 1000,
  };
}

const record = (end: Ended): Promise<Outcome> => CancellationScope.nonCancellable(() => recordOutcome(end));

type NodeEnd = Ended & { recorded?: boolean };

const refused = (job: JobSpec, faults: InputFault[]): NodeEnd => {
  const error = { code: "input_invalid" as const, message: CATALOGUE.input_invalid.says, faults };
  return { job, outcome: { ok: false, error, metrics: {} }, attempts: 0, exhausted: false };
};

const cancelledEnd = {
  outcome: {
    ok: false as const,
    error: { code: "client_cancelled" as const, message: CATALOGUE.client_cancelled.says },
    metrics: {},
  },
  exhausted: false,
};

/** What a child workflow that failed has recorded of itself. */
function childEnd(error: unknown): Pick<Ended, "outcome" | "exhausted"> | undefined {
  if (!(error instanceof ChildWorkflowFailure)) return undefined;
  const [outcome, exhausted] = ((error.cause as { details?: unknown[] } | undefined)?.details ?? []) as [
    Outcome?,
    boolean?,
  ];
  return outcome && typeof outcome.ok === "boolean" ? { outcome, exhausted: exhausted === true } : undefined;
}

const own = <T>(table: Record<string, T> | undefined, name: string): T | undefined =>
  table && Object.hasOwn(table, name) ? table[name] : undefined;

const inputOf = (name: string): string => `the input of the node ${name}`;
