/**
 * The SDK's worker with a thread for workflow code that costs half
 * (docs/decisions/0023-the-workflow-thread.md).
 *
 * Two parts of the SDK are left out. Each of its ten or so calls into the sandbox for one step of a workflow
 * has a timeout, for which Node starts and joins a thread; a `StepWatch` replaces it. And the SDK keeps a
 * stack trace of every promise, only for the query `__stack_trace`. The requests of a step are sent to the
 * thread together, where the SDK waits for each reply before it sends the next request.
 *
 * This module imports internals of `@temporalio/worker`. Only `workflow-worker.ts` imports it, and only when
 * the installed SDK is the version that it was written for (docs/upgrading-temporal.md).
 */
import { join } from "node:path";
import { Worker as Thread } from "node:worker_threads";
import { type Logger, Worker } from "@temporalio/worker";
import type { CompiledWorkerOptions } from "@temporalio/worker/lib/worker-options.js";
import type {
  Workflow,
  WorkflowCreateOptions,
  WorkflowCreator,
} from "@temporalio/worker/lib/workflow/interface.js";
import { VMWorkflowThreadProxy, WorkerThreadClient } from "@temporalio/worker/lib/workflow/threaded-vm.js";
import type {
  Init,
  WorkflowBundleWithSourceMapAndFilename,
} from "@temporalio/worker/lib/workflow/workflow-worker-thread/input.js";
import type { StepWatch } from "./step-watch.ts";

const THREAD = join(import.meta.dirname, "lean-workflow-thread.cjs");

/** Derives a worker class from the SDK's, whose workflows run on the lean thread and report to `watch`. */
export function leanWorkflowWorker(watch: StepWatch): typeof Worker {
  return class extends Worker {
    protected static override async createWorkflowCreator(
      workflowBundle: WorkflowBundleWithSourceMapAndFilename,
      { activities }: CompiledWorkerOptions,
      logger: Logger,
    ): Promise<WorkflowCreator> {
      const running = new Thread(THREAD);
      const thread = new WorkerThreadClient(running, logger);
      let isEnded = false;
      // A loop that does not end would hold the worker, and with it the process, at every stop.
      watch.stuck.catch(() => {
        isEnded = true;
        return running.terminate();
      });
      const init = {
        type: "init",
        workflowBundle,
        reuseV8Context: true,
        registeredActivityNames: new Set(activities.keys()),
        hasPatchActivationCallback: false,
      } satisfies Omit<Init, "isolateExecutionTimeoutMs">;
      // Without a limit, calls into the sandbox have no timeout. The SDK's type requires one.
      await thread.send(init as Init);
      return {
        createWorkflow: async (options) => new LeanWorkflow(thread, options, watch),
        destroy: async () => {
          if (!isEnded) await thread.destroy();
        },
      };
    }
  };
}

type SinkCalls = ReturnType<Workflow["getAndResetSinkCalls"]>;
const NONE: SinkCalls = Promise.resolve([]);

/**
 * A workflow on the lean thread. Its creation, its step and the collection of its sink calls are requested
 * together: the thread handles one request after another, and a step's code has run to its end before the
 * thread looks at the next request.
 */
class LeanWorkflow implements Workflow {
  readonly #proxy: VMWorkflowThreadProxy;
  readonly #watch: StepWatch;
  /** `<type> <id>`, for the watch's error. */
  readonly #name: string;
  readonly #created: Promise<unknown>;
  /** Those of the last step, until they are collected. */
  #sinkCalls: SinkCalls = NONE;

  constructor(thread: WorkerThreadClient, options: WorkflowCreateOptions, watch: StepWatch) {
    const { unsafe, ...info } = options.info;
    const { now: _, random: __, ...cloneable } = unsafe; // functions cannot be sent; the thread has its own
    this.#created = thread.send({
      type: "create-workflow",
      options: { ...options, info: { ...info, unsafe: cloneable } as typeof options.info },
    });
    this.#created.catch(() => {}); // reported by the first step
    this.#proxy = new VMWorkflowThreadProxy(thread, info.runId);
    this.#name = `${info.workflowType} ${info.workflowId}`;
    this.#watch = watch;
  }

  async activate(activation: Parameters<Workflow["activate"]>[0]): ReturnType<Workflow["activate"]> {
    const completion = this.#proxy.activate(activation);
    // The reply with the sink calls marks the end of the step's code. The completion does not: it arrives
    // when the thread has handled everything that was requested so far.
    this.#sinkCalls = this.#watch.step(this.#name, this.#proxy.getAndResetSinkCalls());
    // When the creation failed, both fail for that reason, and its error is the one to report.
    for (const reply of [completion, this.#sinkCalls]) reply.catch(() => {});
    await this.#created;
    return completion;
  }

  getAndResetSinkCalls(): SinkCalls {
    const calls = this.#sinkCalls;
    this.#sinkCalls = NONE;
    return this.#created.then(
      () => calls,
      () => [],
    );
  }

  dispose(): Promise<void> {
    return this.#created.then(
      () => this.#proxy.dispose(),
      () => {},
    );
  }
}
