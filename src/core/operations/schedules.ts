/** The periodic work that Temporal starts. */
export const SCHEDULES = ["retention", "orphans", "usage"] as const;
export type ScheduleName = (typeof SCHEDULES)[number];

export interface ScheduledRun {
  workflowId: string;
  startedAtMs: number;
  state: "RUNNING" | "COMPLETED" | "FAILED";
  /** Return value of the workflow. */
  result?: unknown;
}

export interface ScheduleState {
  name: ScheduleName;
  everyMs: number;
  paused: boolean;
  nextAtMs?: number;
  /** Newest first. */
  runs: ScheduledRun[];
}

/** Reads and triggers the schedules in Temporal. Every method rejects with `temporal_unavailable`. */
export interface Schedules {
  /** Returns `undefined` before the first orchestrator has created the schedule. */
  state(name: ScheduleName): Promise<ScheduleState | undefined>;
  /** Starts a run now, unless one is running. False when there is no such schedule. */
  trigger(name: ScheduleName): Promise<boolean>;
}
