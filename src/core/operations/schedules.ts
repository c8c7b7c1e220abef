/** What the platform does by itself, again and again. */
export const SCHEDULES = ["retention", "orphans", "usage"] as const;
export type ScheduleName = (typeof SCHEDULES)[number];

export interface ScheduledRun {
  workflowId: string;
  startedAtMs: number;
  state: "RUNNING" | "COMPLETED" | "FAILED";
  /** What it returned. */
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

/** The schedules, kept by Temporal. Every method rejects with `temporal_unavailable`. */
export interface Schedules {
  /** `undefined` before the first orchestrator has made it. */
  state(name: ScheduleName): Promise<ScheduleState | undefined>;
  /** Starts a run now, unless one is under way. False when there is no such schedule. */
  trigger(name: ScheduleName): Promise<boolean>;
}
