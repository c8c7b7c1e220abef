import { sleep } from "@temporalio/workflow";

/** A job with an additional timer: histories that were recorded without it cannot be replayed. */
export async function inferenceJob(): Promise<void> {
  await sleep("1 minute");
}
