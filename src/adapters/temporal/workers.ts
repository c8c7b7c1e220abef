import { type NativeConnection, Worker } from "@temporalio/worker";
import { ORCHESTRATOR_QUEUE } from "../../core/job.ts";
import { LIMITS } from "../../core/limits.ts";
import { type ModelVersion, taskQueueOf } from "../../core/model.ts";
import { WEBHOOK_QUEUE } from "../../core/webhook.ts";

/** A worker that is polling. `stop` takes no new work, gives running work `graceMs`, then returns. */
export interface RunningWorker {
  stop(): Promise<void>;
  /** Settles when the worker has ended, for whatever reason; rejects when it broke. */
  ended: Promise<void>;
}

interface WorkerPlace {
  connection: NativeConnection;
  namespace: string;
  /** Shown in the Temporal UI as who runs a task. */
  identity: string;
}

const run = (worker: Worker): RunningWorker => {
  const ended = worker.run();
  ended.catch(() => {}); // reported by whoever waits for `ended`
  return {
    ended,
    stop: async () => {
      if (worker.getState() === "RUNNING") worker.shutdown();
      await ended.catch(() => {});
    },
  };
};

/** Replays and advances workflows, and runs the light activities. */
export async function startOrchestratorWorker(
  { connection, namespace, identity }: WorkerPlace,
  { workflowBundle, activities }: { workflowBundle: { codePath: string }; activities: object },
): Promise<RunningWorker> {
  const worker = await Worker.create({
    connection,
    namespace,
    identity,
    taskQueue: ORCHESTRATOR_QUEUE,
    workflowBundle,
    activities,
    maxCachedWorkflows: 800,
    nonStickyToStickyPollRatio: 0.5,
    stickyQueueScheduleToStartTimeout: "3s",
    maxConcurrentWorkflowTaskExecutions: 100,
    maxConcurrentLocalActivityExecutions: 200,
    shutdownGraceTime: "5s",
  });
  return run(worker);
}

/** Makes the attempts of webhook deliveries, many at once: each waits for its receiver. */
export async function startWebhookWorker(
  { connection, namespace, identity }: WorkerPlace,
  { activities }: { activities: object },
): Promise<RunningWorker> {
  const worker = await Worker.create({
    connection,
    namespace,
    identity,
    taskQueue: WEBHOOK_QUEUE,
    activities,
    maxConcurrentActivityTaskExecutions: LIMITS.webhooksInHandMax,
    maxConcurrentActivityTaskPolls: 4,
    shutdownGraceTime: "5s",
  });
  return run(worker);
}

/** Polls the task queue of one model version, taking as many tasks at once as its engine has slots. */
export async function startGpuWorker(
  { connection, namespace, identity }: WorkerPlace,
  model: Pick<ModelVersion, "endpoint" | "version" | "slots">,
  { activities, graceMs }: { activities: object; graceMs: number },
): Promise<RunningWorker> {
  const worker = await Worker.create({
    connection,
    namespace,
    identity,
    taskQueue: taskQueueOf(model),
    activities,
    maxConcurrentActivityTaskExecutions: model.slots,
    maxConcurrentActivityTaskPolls: Math.min(model.slots, 4),
    maxHeartbeatThrottleInterval: "2s",
    shutdownGraceTime: graceMs,
  });
  return run(worker);
}
