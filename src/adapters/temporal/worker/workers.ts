import type { DataConverter } from "@temporalio/common";
import {
  type ActivitySlotInfo,
  type CustomSlotSupplier,
  type InjectedSinks,
  type NativeConnection,
  Worker,
} from "@temporalio/worker";
import type { Sinks, WorkflowInfo } from "@temporalio/workflow";
import { ORCHESTRATOR_QUEUE } from "../../../core/requests/job.ts";
import { LIMITS } from "../../../core/limits.ts";
import { type ModelVersion, taskQueueOf } from "../../../core/models/model.ts";
import { WEBHOOK_QUEUE } from "../../../core/webhooks/webhook.ts";
import { StepWatch } from "./step-watch.ts";
import { workflowWorker } from "./workflow-worker.ts";

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
  /**
   * How payloads and failures are written. Every worker needs the same: one that lacks it cannot read what is
   * encrypted.
   */
  dataConverter: DataConverter;
}

const run = (worker: Worker, broken?: Promise<never>): RunningWorker => {
  const ended = broken ? Promise.race([worker.run(), broken]) : worker.run();
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
  place: WorkerPlace,
  {
    workflowBundle,
    activities,
    news,
    stepLookMs,
  }: {
    workflowBundle: { codePath: string };
    activities: object;
    /**
     * What workflows tell as they go; each function returns at once. Not told again when a workflow is
     * replayed.
     */
    news: object;
    /** How often it is looked whether workflow code comes to an end; for tests. */
    stepLookMs?: number;
  },
): Promise<RunningWorker> {
  const watch = new StepWatch(stepLookMs);
  const worker = await workflowWorker(watch).create({
    ...place,
    taskQueue: ORCHESTRATOR_QUEUE,
    workflowBundle,
    activities,
    sinks: { news: sinkOf(news) },
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

const sinkOf = (functions: object): InjectedSinks<Sinks>[string] =>
  Object.fromEntries(
    Object.entries(functions).map(([name, tell]) => [
      name,
      { fn: (_: WorkflowInfo, ...args: unknown[]) => tell(...args), callDuringReplay: false },
    ]),
  );

/** Makes the attempts of webhook deliveries, many at once: each waits for its receiver. */
export async function startWebhookWorker(
  place: WorkerPlace,
  { activities }: { activities: object },
): Promise<RunningWorker> {
  const worker = await Worker.create({
    ...place,
    taskQueue: WEBHOOK_QUEUE,
    activities,
    maxConcurrentActivityTaskExecutions: LIMITS.webhooksInHandMax,
    maxConcurrentActivityTaskPolls: 4,
    shutdownGraceTime: "5s",
  });
  return run(worker);
}

/** A worker on the queue of one model version. */
export interface GpuWorker extends RunningWorker {
  /**
   * Takes nothing new once the polls under way have come back, each with one task at most; what it has goes
   * on.
   */
  drain(): void;
  /** Tasks that were taken and have not come to an end. */
  inHand(): number;
}

/** Polls the task queue of one model version, taking as many tasks at once as its engine has slots. */
export async function startGpuWorker(
  place: WorkerPlace,
  model: Pick<ModelVersion, "endpoint" | "version" | "slots">,
  {
    activities,
    graceMs,
    drainable,
    onIdle,
  }: {
    activities: Record<string, (...args: never[]) => Promise<unknown>>;
    graceMs: number;
    /** `drain` may be called. Costs a call into JavaScript for each poll. */
    drainable: boolean;
    /** The last task in hand has come to an end. */
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
    ...place,
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

/** Slots of a worker that hands out none any more once it is closed: it polls only with a slot in hand. */
function drainableSlots(count: number): { supplier: CustomSlotSupplier<ActivitySlotInfo>; close(): void } {
  let used = 0;
  let closed = false;
  const waiting = new Set<() => void>();
  const take = (): boolean => {
    if (closed || used >= count) return false;
    used++;
    return true;
  };
  return {
    close: () => {
      closed = true;
    },
    supplier: {
      type: "custom",
      reserveSlot: (_, abort) =>
        new Promise((resolve, reject) => {
          const attempt = () => {
            if (!take()) return;
            waiting.delete(attempt);
            abort.removeEventListener("abort", onAbort);
            resolve({});
          };
          const onAbort = () => {
            waiting.delete(attempt);
            reject(abort.reason);
          };
          waiting.add(attempt);
          abort.addEventListener("abort", onAbort, { once: true });
          if (abort.aborted) onAbort();
          else attempt();
        }),
      tryReserveSlot: () => (take() ? {} : null),
      markSlotUsed: () => {},
      releaseSlot: () => {
        used--;
        const [next] = waiting;
        next?.();
      },
    },
  };
}
