import { type Client, ScheduleAlreadyRunning, ScheduleNotFoundError } from "@temporalio/client";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type {
  ScheduledRun,
  ScheduleName,
  ScheduleState,
  Schedules,
} from "../../core/operations/schedules.ts";
import { ORCHESTRATOR_QUEUE } from "../../core/requests/job.ts";

/** A workflow that is started at an interval. */
export interface Scheduled {
  name: ScheduleName;
  workflowType: string;
  args: unknown[];
  everyMs: number;
}

/** Latest runs shown for a schedule. */
const RUNS = 5;

const scheduleId = (name: ScheduleName): string => `tempera-${name}`;

const specOf = ({ name, workflowType, args, everyMs }: Scheduled) => ({
  spec: { intervals: [{ every: everyMs }] },
  action: {
    type: "startWorkflow" as const,
    workflowType,
    workflowId: `tempera-${name}`,
    taskQueue: ORCHESTRATOR_QUEUE,
    args,
  },
  // A missed run is started once, late. While a run is under way, no other begins.
  policies: { overlap: "SKIP" as const, catchupWindow: "1m" as const },
});

const call = async <T>(work: Promise<T>): Promise<T> =>
  work.catch((error) => {
    if (error instanceof ScheduleNotFoundError || error instanceof ScheduleAlreadyRunning) throw error;
    throw new TemperaError("temporal_unavailable", undefined, { cause: error });
  });

/**
 * Creates the schedules, or updates them to the configuration. May be repeated, and by many processes at
 * once. A paused schedule stays paused.
 */
export async function ensureSchedules(client: Client, wanted: Scheduled[]): Promise<void> {
  for (const each of wanted) {
    try {
      await call(client.schedule.create({ scheduleId: scheduleId(each.name), ...specOf(each) }));
    } catch (error) {
      if (!(error instanceof ScheduleAlreadyRunning)) throw error;
      const handle = client.schedule.getHandle(scheduleId(each.name));
      const { spec } = await call(handle.describe());
      if (spec.intervals?.length === 1 && spec.intervals[0]?.every === each.everyMs) continue;
      await call(handle.update(({ state }) => ({ ...specOf(each), state })));
    }
  }
}

/** Creates the port to schedules on Temporal. */
export function createSchedules(client: Client): Schedules {
  const unlessUnknown = async <T>(work: Promise<T>): Promise<T | undefined> =>
    call(work).catch((error) => {
      if (error instanceof ScheduleNotFoundError) return undefined;
      throw error;
    });

  const runOf = async ({
    workflowId,
    startedAtMs,
  }: {
    workflowId: string;
    startedAtMs: number;
  }): Promise<ScheduledRun> => {
    const handle = client.workflow.getHandle(workflowId);
    // Temporal deletes a run after its retention period: a run that is not found has completed.
    const status = await handle.describe().then(
      (found) => found.status.name,
      () => "COMPLETED",
    );
    if (status === "RUNNING") return { workflowId, startedAtMs, state: "RUNNING" };
    if (status !== "COMPLETED") return { workflowId, startedAtMs, state: "FAILED" };
    const result: unknown = await handle.result().catch(() => undefined);
    return { workflowId, startedAtMs, state: "COMPLETED", ...(result !== undefined && { result }) };
  };

  return {
    async state(name) {
      const found = await unlessUnknown(client.schedule.getHandle(scheduleId(name)).describe());
      if (!found) return undefined;
      const { spec, state, info } = found;
      const taken = info.recentActions
        .flatMap(({ action, takenAt }) =>
          action.type === "startWorkflow"
            ? [{ workflowId: action.workflow.workflowId, startedAtMs: takenAt.getTime() }]
            : [],
        )
        .slice(-RUNS)
        .reverse();
      const [nextAt] = info.nextActionTimes;
      const answer: ScheduleState = {
        name,
        everyMs: spec.intervals?.[0]?.every ?? 0,
        paused: state.paused,
        ...(nextAt && { nextAtMs: nextAt.getTime() }),
        runs: await Promise.all(taken.map(runOf)),
      };
      return answer;
    },

    trigger: async (name) =>
      (await unlessUnknown(
        client.schedule
          .getHandle(scheduleId(name))
          .trigger("SKIP")
          .then(() => true),
      )) ?? false,
  };
}
