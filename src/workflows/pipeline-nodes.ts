import { CancellationScope, CancelledFailure, patched, uuid4 } from "@temporalio/workflow";
import type { PipelineNode } from "../activities/index.ts";
import { Semaphore } from "../core/concurrency/semaphore.ts";
import type { InputFault } from "../core/errors/tempera-error.ts";
import { inputHash } from "../core/json/input-hash.ts";
import type { JsonObject, Stored } from "../core/json/json.ts";
import { LIMITS } from "../core/limits.ts";
import type { CallTarget, ReusedNode } from "../core/pipelines/pipeline.ts";
import type { JobSpec } from "../core/requests/job.ts";
import { identityOf, type Outcome } from "../core/requests/request.ts";
import { refusedNode, runChildPipeline } from "./child-pipeline.ts";
import { type EndedJob, type FinishedWork, recordOutcome, runInference } from "./inference.ts";
import { NodeSlots } from "./node-slots.ts";
import { nodeFailure, pipelineFailure } from "./pipeline-errors.ts";
import { pipelineEvents } from "./pipeline-events.ts";
import { nodeJob, type PipelineJob } from "./pipeline-node-job.ts";
import type { PipelineValues } from "./pipeline-values.ts";
import { needsSlot } from "./with-slot.ts";

/** The name in histories of the slots that nodes take. */
const NODE_SLOTS = "node-slots";

export interface PipelineNodesOptions {
  values: PipelineValues;
  /** The endpoints that the pipeline may call, by id. */
  targets: Record<string, CallTarget>;
  /** Results of an earlier run, by node. */
  reusable?: Record<string, ReusedNode>;
  /** Changes of the inputs of single nodes, by node. */
  overrides?: Record<string, JsonObject>;
  /** The number of nodes, where it is known before they run; for progress. */
  nodesKnown?: number;
}

/**
 * The nodes of one run of a pipeline. Each call of an endpoint is a request of its own.
 *
 * A node is admitted (its name and the limits are checked); then it is reused from an earlier run, or it
 * waits for one of `LIMITS.pipelineNodesAtOnce` slots, and for one of its owner's where those are limited,
 * and runs; then it is settled: its outcome is recorded, and announced through the pipeline's event sink.
 * Once the pipeline is stopped or cancelled, no node is admitted.
 */
export class PipelineNodes {
  readonly #job: PipelineJob;
  readonly #options: PipelineNodesOptions;
  readonly #events = pipelineEvents();
  readonly #slots = new Semaphore(LIMITS.pipelineNodesAtOnce);
  /** Present when the owner's concurrency slots are limited. */
  readonly #ownerSlots: NodeSlots | undefined;
  readonly #names = new Set<string>();
  /** Scopes of the running nodes, by request id. */
  readonly #running = new Map<string, CancellationScope>();
  /** Nodes whose outcome is not recorded yet. */
  readonly #unsettled = new Set<Promise<unknown>>();
  #unnamed = 0;
  #done = 0;
  #inferenceSeconds = 0;
  #stopped = false;

  constructor(job: PipelineJob, options: PipelineNodesOptions) {
    this.#job = job;
    this.#options = options;
    const isLimited = needsSlot(job) || job.pipeline.slots === true;
    // Pipelines that began in a release before run their nodes without slots.
    this.#ownerSlots = isLimited && patched(NODE_SLOTS) ? new NodeSlots(job) : undefined;
  }

  /**
   * Calls an endpoint and returns its stored output. Rejects with `nodeFailure` when the node failed finally,
   * with `pipelineFailure` when a limit forbids it, and with a `CancelledFailure` when the pipeline was
   * cancelled.
   *
   * @param name default: made of the endpoint and a number
   */
  async run(
    endpoint: string,
    templateInput: JsonObject,
    name = this.#nextName(endpoint),
  ): Promise<Stored<JsonObject>> {
    const target = this.#admit(endpoint, name);
    const override = own(this.#options.overrides, name);
    const input = override ? { ...templateInput, ...override } : templateInput;
    this.#options.values.assertSize(input, inputLabel(name));
    const previous = this.#findReusable(name, endpoint, target.version, input);
    if (previous) return this.#reuse(name, previous);
    const release = await this.#slots.acquire();
    try {
      // Another node may have failed while this one waited.
      if (this.#ends()) throw cancelled();
      const job = await this.#jobOf(name, target, input);
      const call = () => this.#call(job, target, input);
      return await this.#settle(name, job, () => this.#ownerSlots?.run(job, call) ?? call());
    } finally {
      release();
    }
  }

  /**
   * Records a node that fails without having run, because its input cannot be made. Rejects with
   * `nodeFailure`.
   */
  async refuse(endpoint: string, input: JsonObject, name: string, faults: InputFault[]): Promise<never> {
    const requestId = uuid4();
    const target = this.#admit(endpoint, name);
    const job = await this.#jobOf(name, target, input, requestId);
    await this.#settle(name, job, async () => refusedNode(job, faults));
    throw cancelled();
  }

  /** Reads the output of a node. `label` names it in errors. */
  read(stored: Stored<JsonObject>, label: string): Promise<JsonObject> {
    return this.#options.values.load(stored, label);
  }

  /** Cancels a running node by its request id; does nothing when it has ended. */
  cancel(requestId: string): void {
    this.#running.get(requestId)?.cancel();
  }

  /** Cancels the running nodes and resolves when all outcomes are recorded. No node starts afterwards. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const scope of this.#running.values()) scope.cancel();
    while (this.#unsettled.size > 0) await Promise.allSettled([...this.#unsettled]);
  }

  /** Seconds of inference of all nodes together, in milliseconds' precision. */
  inferenceSeconds(): number {
    return Math.round(this.#inferenceSeconds * 1000) / 1000;
  }

  /**
   * The pipeline was stopped or cancelled. The scope must be the one in which the pipeline's code runs, not
   * the scope of a node.
   */
  #ends(): boolean {
    return this.#stopped || CancellationScope.current().consideredCancelled;
  }

  /** Checks that one more node may start, takes its name, and returns the endpoint that it calls. */
  #admit(endpoint: string, name: string): CallTarget {
    if (this.#ends()) throw cancelled();
    const target = own(this.#options.targets, endpoint);
    if (!target)
      throw pipelineFailure(
        "pipeline_failed",
        `The pipeline called ${endpoint}, which is not among its calls; add it to \`calls\`.`,
      );
    if (this.#names.has(name))
      throw pipelineFailure("pipeline_failed", `Two nodes have the name ${name}; give each its own.`);
    if (this.#names.size >= LIMITS.pipelineNodesMax)
      throw pipelineFailure(
        "pipeline_limit",
        `A pipeline may have ${LIMITS.pipelineNodesMax} nodes, and ${name} is one too many.`,
      );
    if (target.kind === "pipeline" && this.#job.pipeline.depth + 1 >= LIMITS.pipelineDepthMax)
      throw pipelineFailure(
        "pipeline_limit",
        `Pipelines may be nested ${LIMITS.pipelineDepthMax} deep, and ${name} (${endpoint}) is deeper.`,
      );
    this.#names.add(name);
    return target;
  }

  /** The default name of a node, in the format of fal's SDK (contract §11.4). */
  #nextName(endpoint: string): string {
    for (;;) {
      const name = `${endpoint.replace(/[^A-Za-z0-9]/g, "_")}_${++this.#unnamed}`;
      if (!this.#names.has(name)) return name;
    }
  }

  /**
   * Returns the result of an earlier run, if it is one of the same call with the same input. Overrides are
   * part of the input, those of an earlier rerun included.
   */
  #findReusable(name: string, endpoint: string, version: string, input: JsonObject): ReusedNode | undefined {
    if (name === this.#job.pipeline.from) return undefined;
    const previous = own(this.#options.reusable, name);
    const same =
      previous?.endpoint === endpoint &&
      previous.version === version &&
      previous.inputHash === inputHash(input);
    return same ? previous : undefined;
  }

  #reuse(name: string, { requestId, endpoint, output }: ReusedNode): Stored<JsonObject> {
    this.#done++;
    this.#events.reused(identityOf(this.#job), { node: name, endpoint, requestId }, output, this.#progress());
    return output;
  }

  async #jobOf(
    name: string,
    target: CallTarget,
    value: JsonObject,
    requestId: string = uuid4(),
  ): Promise<JobSpec> {
    const label = inputLabel(name);
    const input = await this.#options.values.store(value, { requestId, what: "input", label });
    return nodeJob(this.#job, target, { requestId, name, input, startDeadline: this.#done === 0 });
  }

  #call(job: JobSpec, target: CallTarget, input: JsonObject): Promise<FinishedWork> {
    if (target.kind === "model") {
      const summary = `${job.endpoint} · ${job.node?.id}`;
      return runInference(job, { activityId: job.requestId, summary });
    }
    const { values } = this.#options;
    const slots = this.#ownerSlots !== undefined;
    return runChildPipeline(job, target, input, { part: this.#job.pipeline, values, slots });
  }

  /** Runs a node in a scope of its own, records its outcome and announces it. Returns the stored output. */
  #settle(name: string, job: JobSpec, work: () => Promise<FinishedWork>): Promise<Stored<JsonObject>> {
    const node = { node: name, endpoint: job.endpoint, requestId: job.requestId };
    const scope = new CancellationScope();
    this.#running.set(job.requestId, scope);
    this.#events.submitted(identityOf(this.#job), node, job);
    const settled = (async () => {
      const { recorded, ...ended } = await scope.run(work);
      // Recorded before it is announced, so that whoever reads the event finds the record.
      const outcome = recorded ? ended.outcome : await record(this.#withReason(ended));
      this.#running.delete(job.requestId);
      this.#inferenceSeconds += outcome.metrics.inference_time ?? 0;
      return this.#announce(node, outcome, ended.exhausted);
    })();
    this.#unsettled.add(settled);
    const remove = () => void this.#unsettled.delete(settled);
    settled.then(remove, remove);
    return settled;
  }

  /** Announces a node's recorded outcome. Returns its output, or throws. */
  #announce(node: PipelineNode, outcome: Outcome, exhausted: boolean): Stored<JsonObject> {
    const pipeline = identityOf(this.#job);
    if (outcome.ok) {
      this.#done++;
      const { output, cache = "miss" } = outcome;
      this.#events.ended(pipeline, node, { change: "completed", output, cache, nodes: this.#progress() });
      return output;
    }
    this.#events.ended(pipeline, node, { change: "failed", error: outcome.error });
    if (this.#ends()) throw cancelled();
    throw nodeFailure(node, outcome, exhausted);
  }

  /** Gives a node that was cancelled together with its pipeline the reason for its end. */
  #withReason(ended: EndedJob): EndedJob {
    const { outcome } = ended;
    if (!this.#ends() || outcome.ok || outcome.error.code !== "client_cancelled") return ended;
    const error = { code: "client_cancelled" as const, message: "Its pipeline ended before it did." };
    return { ...ended, outcome: { ...outcome, error } };
  }

  #progress(): { done: number; of: number } {
    return { done: this.#done, of: Math.max(this.#names.size, this.#options.nodesKnown ?? 0) };
  }
}

function record(ended: EndedJob): Promise<Outcome> {
  return CancellationScope.nonCancellable(() => recordOutcome(ended));
}

const cancelled = () => new CancelledFailure("The pipeline was cancelled.");

const own = <T>(table: Record<string, T> | undefined, name: string): T | undefined =>
  table && Object.hasOwn(table, name) ? table[name] : undefined;

const inputLabel = (name: string): string => `the input of the node ${name}`;
