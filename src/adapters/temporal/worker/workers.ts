/**
 * The Temporal workers of the roles: the orchestrator's, which advances workflows, the one that delivers
 * webhooks, and a GPU worker's, one per model version.
 */
import type { DataConverter } from "@temporalio/common";
import {
  type ActivitySlotInfo,
  type CustomSlotSupplier,
  type InjectedSinks,
  type NativeConnection,
  Worker,
} from "@temporalio/worker";
import type { Sinks, WorkflowInfo } from "@temporalio/workflow";
import { type Release, Semaphore } from "../../../core/concurrency/semaphore.ts";
import { LIMITS } from "../../../core/limits.ts";
import { type ModelVersion, taskQueueOf } from "../../../core/models/model.ts";
import type { Log } from "../../../core/operations/log.ts";
import { ORCHESTRATOR_QUEUE } from "../../../core/requests/job.ts";
import { WEBHOOK_QUEUE } from "../../../core/webhooks/webhook.ts";
import { StepWatch } from "./step-watch.ts";
import { supportedWorkflowThread, type WorkflowThread, workflowWorker } from "./workflow-worker.ts";

/** A worker that is polling. */
export interface RunningWorker {
  /**
   * Takes no new work, waits for running work until its grace period is over, then resolves. Never rejects.
   */
  stop(): Promise<void>;
  /** Settles when the worker has ended, for whatever reason; rejects when it broke. */
  ended: Promise<void>;
}

/** The connection of a worker, and how it presents itself. */
interface WorkerConnection {
  connection: NativeConnection;
  namespace: string;
  /** Shown in the Temporal UI as the worker of a task. */
  identity: string;
  /**
   * Encodes payloads and failures. Every worker needs the same one: a worker without it cannot read what is
   * encrypted.
   */
  dataConverter: DataConverter;
}

function run(worker: Worker, broken?: Promise<never>): RunningWorker {
  const running = worker.run();
  running.catch(() => {}); // reported by `ended`
  const ended = broken ? Promise.race([running, broken]) : running;
  ended.catch(() => {}); // reported by the caller, who awaits it
  return {
    ended,
    stop: async () => {
      if (worker.getState() === "RUNNING") worker.shutdown();
      // A worker that broke uses its connection until it has run to its end.
      await running.catch(() => {});
    },
  };
}

/** Parts of the orchestrator's worker. */
interface OrchestratorWorkerOptions {
  workflowBundle: { codePath: string };
  activities: object;
  /**
   * Functions that workflows call as they run, by the name of their sink. Each must return at once. They are
   * not called again when a workflow is replayed.
   */
  sinks: Record<string, object>;
  /** The thread of workflow code; `sdk` where the installed SDK does not support `lean`. */
  workflowThread: WorkflowThread;
  log: Pick<Log, "warn">;
  /** Interval of the checks whether workflow code makes progress, in milliseconds; for tests. */
  stepCheckMs?: number;
}

/** Starts the worker that replays and advances workflows, and runs the light activities. */
export async function startOrchestratorWorker(
  connection: WorkerConnection,
  { workflowBundle, activities, sinks, workflowThread, log, stepCheckMs }: OrchestratorWorkerOptions,
): Promise<RunningWorker> {
  const watch = new StepWatch(stepCheckMs);
  const WorkflowWorker = await workflowWorker(supportedWorkflowThread(workflowThread, log), watch);
  const worker = await WorkflowWorker.create({
    ...connection,
    taskQueue: ORCHESTRATOR_QUEUE,
    workflowBundle,
    activities,
    sinks: Object.fromEntries(Object.entries(sinks).map(([name, functions]) => [name, sinkOf(functions)])),
    maxCachedWorkflows: 800,
    nonStickyToStickyPollRatio: 0.5,
    stickyQueueScheduleToStartTimeout: "3s",
    maxConcurrentWorkflowTaskExecutions: 100,
    maxConcurrentLocalActivityExecutions: 200,
    shutdownGraceTime: "5s",
  });
  const running = run(worker, watch.stuck);
  running.ended.finally(() => watch.stop()).catch(() => {});
  return running;
}

function sinkOf(functions: object): InjectedSinks<Sinks>[string] {
  return Object.fromEntries(
    Object.entries(functions).map(([name, call]) => [
      name,
      { fn: (_: WorkflowInfo, ...args: unknown[]) => call(...args), callDuringReplay: false },
    ]),
  );
}

/** Starts the worker that attempts webhook deliveries, many at once since each waits for its receiver. */
export async function startWebhookWorker(
  connection: WorkerConnection,
  { activities }: { activities: object },
): Promise<RunningWorker> {
  const worker = await Worker.create({
    ...connection,
    taskQueue: WEBHOOK_QUEUE,
    activities,
    maxConcurrentActivityTaskExecutions: LIMITS.webhooksInFlightMax,
    maxConcurrentActivityTaskPolls: 4,
    shutdownGraceTime: "5s",
  });
  return run(worker);
}

/** A worker on the queue of one model version. */
export interface GpuWorker extends RunningWorker {
  /**
   * Stops polling for tasks. Polls under way still return, with one task each at most; running tasks go on.
   */
  drain(): void;
  /** Returns the number of running tasks. */
  inHand(): number;
}

/** Starts a worker for one model version. It runs as many tasks at once as the version's engine has slots. */
export async function startGpuWorker(
  connection: WorkerConnection,
  model: Pick<ModelVersion, "endpoint" | "version" | "slots">,
  {
    activities,
    graceMs,
    drainable,
    onIdle,
  }: {
    activities: Record<string, (...args: never[]) => Promise<unknown>>;
    graceMs: number;
    /** Makes `drain` work, at the cost of a call into JavaScript for each poll. */
    drainable: boolean;
    /** Called when the last running task has ended. */
    onIdle: () => void;
  },
): Promise<GpuWorker> {
  let inHand = 0;
  const counted = Object.fromEntries(
    Object.entries(activities).map(([name, activity]) => [
      name,
      async (...args: never[]) => {
        inHand++;
        try {
          return await activity(...args);
        } finally {
          if (--inHand === 0) setImmediate(onIdle);
        }
      },
    ]),
  );
  const slots = drainableSlots(model.slots);
  const fixed = (numSlots: number) => ({ type: "fixed-size" as const, numSlots });
  const worker = await Worker.create({
    ...connection,
    taskQueue: taskQueueOf(model),
    activities: counted,
    ...(drainable
      ? {
          tuner: {
            activityTaskSlotSupplier: slots.supplier,
            workflowTaskSlotSupplier: fixed(2),
            localActivityTaskSlotSupplier: fixed(1),
            nexusTaskSlotSupplier: fixed(1),
          },
        }
      : { maxConcurrentActivityTaskExecutions: model.slots }),
    maxConcurrentActivityTaskPolls: Math.min(model.slots, 4),
    maxHeartbeatThrottleInterval: "2s",
    shutdownGraceTime: graceMs,
  });
  return { ...run(worker), drain: slots.close, inHand: () => inHand };
}

/**
 * Creates slots that are handed out until `close`. A worker polls only with a slot, so it stops polling then.
 */
function drainableSlots(count: number): { supplier: CustomSlotSupplier<ActivitySlotInfo>; close(): void } {
  let closed = false;
  const slots = new Semaphore(() => (closed ? 0 : count));
  // Slots are alike, so it does not matter which one a task gives back.
  const releases: Release[] = [];
  const reserve = (release: Release) => {
    releases.push(release);
    return {};
  };
  return {
    close: () => {
      closed = true;
    },
    supplier: {
      type: "custom",
      reserveSlot: async (_, abort) => reserve(await slots.acquire(abort)),
      tryReserveSlot: () => {
        const release = slots.tryAcquire();
        return release ? reserve(release) : null;
      },
      markSlotUsed: () => {},
      releaseSlot: () => releases.pop()?.(),
    },
  };
}
