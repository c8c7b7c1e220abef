/**
 * The SDK's worker with a thread for workflow code that costs half
 * (docs/decisions/0023-the-workflow-thread.md).
 *
 * Two things of the SDK are left out. Each of its ten or so calls into the sandbox for one step of a workflow
 * has a clock, for which Node starts and joins a thread; a `StepWatch` is there instead. And a stack trace is
 * kept of every promise, for the query `__stack_trace` alone. The thread is asked for all of a step at once,
 * where the SDK waits for each answer before it asks for the next thing.
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

const THREAD = join(import.meta.dirname, "workflow-thread.cjs");

export const workflowWorker = (watch: StepWatch): typeof Worker =>
  class extends Worker {
    protected static override async createWorkflowCreator(
      workflowBundle: WorkflowBundleWithSourceMapAndFilename,
      { activities }: CompiledWorkerOptions,
      logger: Logger,
    ): Promise<WorkflowCreator> {
      const thread = new WorkerThreadClient(new Thread(THREAD), logger);
      const init = {
        type: "init",
        workflowBundle,
        reuseV8Context: true,
        registeredActivityNames: new Set(activities.keys()),
        hasPatchActivationCallback: false,
      } satisfies Omit<Init, "isolateExecutionTimeoutMs">;
      // A call without a limit has no clock. The SDK's types know only limits.
      await thread.send(init as Init);
      return {
        createWorkflow: async (options) => workflowOn(thread, options, watch),
        destroy: () => thread.destroy(),
      };
    }
  };

/**
 * A workflow on the thread. It is made, does its step and tells its sink calls at one request: the thread
 * does one thing after another, and a step's code has run to its end before the next request is looked at.
 */
function workflowOn(thread: WorkerThreadClient, options: WorkflowCreateOptions, watch: StepWatch): Workflow {
  const { unsafe, ...info } = options.info;
  const { now: _, random: __, ...cloneable } = unsafe; // functions stay here; the thread has its own
  const made = thread.send({
    type: "create-workflow",
    options: { ...options, info: { ...info, unsafe: cloneable } as typeof options.info },
  });
  made.catch(() => {}); // told by the first step
  const name = `${info.workflowType} ${info.workflowId}`;
  const workflow = new VMWorkflowThreadProxy(thread, info.runId);
  let calls: SinkCalls = NONE;
  return {
    async activate(activation) {
      const completion = workflow.activate(activation);
      // Answered when the step's code has run. The completion is not: that comes when the thread has done all
      // that it was asked for so far.
      calls = watch.step(name, workflow.getAndResetSinkCalls());
      for (const asked of [completion, calls]) asked.catch(() => {}); // where it could not be made, that is the error
      await made;
      return completion;
    },
    getAndResetSinkCalls() {
      const taken = calls;
      calls = NONE;
      // Of a workflow that could not be made there are none.
      return made.then(
        () => taken,
        () => [],
      );
    },
    dispose: () =>
      made.then(
        () => workflow.dispose(),
        () => {},
      ),
  };
}

type SinkCalls = ReturnType<Workflow["getAndResetSinkCalls"]>;
const NONE: SinkCalls = Promise.resolve([]);
