/** The straight-forward way on Temporal: one workflow with one activity, nothing else. The benchmark's other side. */
import { proxyActivities } from "@temporalio/workflow";

const { noop } = proxyActivities<{ noop(input: unknown): Promise<unknown> }>({
  taskQueue: "bare-activities",
  startToCloseTimeout: "1 minute",
});

export const bare = (input: unknown): Promise<unknown> => noop(input);
