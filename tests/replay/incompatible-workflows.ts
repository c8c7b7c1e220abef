import { sleep } from "@temporalio/workflow";

/** A job that waits before it works: histories recorded without the timer cannot replay on it. */
export async function inferenceJob(): Promise<void> {
  await sleep("1 minute");
}
