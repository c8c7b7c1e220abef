/**
 * The straight-forward way on Temporal: one workflow with one activity, nothing else. The benchmark's other
 * side.
 */
import { proxyActivities } from "@temporalio/workflow";

const { noop } = proxyActivities<{ noop(input: unknown): Promise<unknown> }>({
  taskQueue: "bare-activities",
  startToCloseTimeout: "1 minute",
});

export const bare = (input: unknown): Promise<unknown> => noop(input);

/** So many of them one after another. */
export async function bareChain(calls: number): Promise<void> {
  for (let i = 0; i < calls; i++) await noop({});
}

/** So many of them started together. */
export async function bareFan(calls: number): Promise<void> {
  await Promise.all(Array.from({ length: calls }, () => noop({})));
}
