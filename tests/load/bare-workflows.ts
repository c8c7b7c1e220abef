/**
 * The baseline on Temporal that benchmarks compare with: one workflow with one activity, nothing else.
 */
import { proxyActivities } from "@temporalio/workflow";

const { noop } = proxyActivities<{ noop(input: unknown): Promise<unknown> }>({
  taskQueue: "bare-activities",
  startToCloseTimeout: "1 minute",
});

export const bare = (input: unknown): Promise<unknown> => noop(input);

/** Calls the activity so many times, one after the other. */
export async function bareChain(calls: number): Promise<void> {
  for (let i = 0; i < calls; i++) await noop({});
}

/** Calls the activity so many times at once. */
export async function bareFan(calls: number): Promise<void> {
  await Promise.all(Array.from({ length: calls }, () => noop({})));
}
