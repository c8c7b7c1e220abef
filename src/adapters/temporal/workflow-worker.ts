/**
 * The SDK's worker with a thread for workflow code that costs half (docs/decisions/0023-the-workflow-thread.md).
 *
 * Two things of the SDK are left out. Each of its ten or so calls into the sandbox for one step of a workflow has a clock, for which Node starts and
 * joins a thread; a `StepWatch` is there instead. And a stack trace is kept of every promise, for the query `__stack_trace` alone.
 */
import { join } from "node:path";
import { Worker as Thread } from "node:worker_threads";
import { type Logger, Worker } from "@temporalio/worker";
import type { CompiledWorkerOptions } from "@temporalio/worker/lib/worker-options.js";
import type { WorkflowCreator } from "@temporalio/worker/lib/workflow/interface.js";
import { ThreadedVMWorkflowCreator, WorkerThreadClient } from "@temporalio/worker/lib/workflow/threaded-vm.js";
import type { Init, WorkflowBundleWithSourceMapAndFilename } from "@temporalio/worker/lib/workflow/workflow-worker-thread/input.js";
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
      return watch.watch(new ThreadedVMWorkflowCreator([thread]));
    }
  };
