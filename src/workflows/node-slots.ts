import { CancellationScope, setHandler } from "@temporalio/workflow";
import type { JobSpec } from "../core/requests/job.ts";
import { type FinishedWork, failedOutcome } from "./inference.ts";
import type { PipelineJob } from "./pipeline-node-job.ts";
import { acquireSlot, notStarted, releaseSlot, slotGranted, waitForGrant } from "./with-slot.ts";

/**
 * The concurrency slots in which the nodes of a pipeline run, when its owner has a limited number of them: a
 * node takes one of the owner's slots, just as a request does.
 *
 * The pipeline's own slot is the first one. Its nodes hand it on among themselves, and every other node that
 * runs at the same time takes another slot of the owner, in line with the owner's requests. So a pipeline
 * that runs can always run one node, and none waits for a slot that it holds itself. A node that is a
 * pipeline gives its slot to that pipeline.
 */
export class NodeSlots {
  readonly #pipelineId: string;
  /** Nodes without a slot, in the order in which they came. */
  readonly #waiting = new Set<string>();
  /** Nodes that were granted a slot of their own. */
  readonly #granted = new Set<string>();
  /** The node that has the pipeline's own slot. */
  #owner: string | undefined;

  constructor({ requestId }: Pick<PipelineJob, "requestId">) {
    this.#pipelineId = requestId;
    // The signal of the pipeline's own slot names no node.
    setHandler(slotGranted, (node?: string) => {
      if (node !== undefined) this.#granted.add(node);
    });
  }

  /**
   * Runs a node's work in a slot. Ends with `startup_timeout` when there was none before the start deadline.
   * Never rejects: a failure is an outcome.
   */
  async run(job: JobSpec, work: () => Promise<FinishedWork>): Promise<FinishedWork> {
    const { requestId } = job;
    if (this.#owner === undefined) this.#owner = requestId;
    try {
      return this.#owner === requestId ? await work() : await this.#runInLine(job, work);
    } catch (error) {
      return { job, outcome: failedOutcome(error), attempts: 0, exhausted: false };
    } finally {
      if (this.#owner === requestId) this.#handOn();
    }
  }

  /** Waits for a slot of its own or for the pipeline's, whichever is free first. */
  async #runInLine(job: JobSpec, work: () => Promise<FinishedWork>): Promise<FinishedWork> {
    const { requestId } = job;
    const isGranted = (): boolean => this.#granted.has(requestId);
    const hasSlot = (): boolean => isGranted() || this.#owner === requestId;
    let inLine = true;
    const leave = async (): Promise<void> => {
      if (!inLine) return;
      inLine = false;
      await CancellationScope.nonCancellable(() => releaseSlot(job));
    };
    this.#waiting.add(requestId);
    try {
      const request = { ...job, workflowId: this.#pipelineId };
      if (await CancellationScope.nonCancellable(() => acquireSlot(request))) this.#granted.add(requestId);
      if (!(await waitForGrant(job, hasSlot))) return notStarted(job);
      this.#waiting.delete(requestId);
      if (this.#owner === requestId) await leave();
      return await work();
    } finally {
      this.#waiting.delete(requestId);
      this.#granted.delete(requestId);
      await leave();
    }
  }

  /** Hands the pipeline's own slot to the node that has waited longest. */
  #handOn(): void {
    const [next] = this.#waiting;
    this.#owner = next;
    if (next !== undefined) this.#waiting.delete(next);
  }
}
