import type { Client } from "@temporalio/client";
import { within } from "./within.ts";

/** `TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY` of Temporal's API. */
const ACTIVITY_QUEUE = 2;
const ANSWER_MS = 2_000;

/**
 * Creates the count of activity tasks that wait in a task queue for a worker. It rejects when Temporal does
 * not answer.
 *
 * It uses the older of Temporal's two counts: the server caches the newer one (`reportStats`) for five
 * seconds.
 */
export function createBacklog({ connection, options: { namespace } }: Client) {
  return async (taskQueue: string): Promise<number> => {
    const { taskQueueStatus } = await within(
      ANSWER_MS,
      connection.workflowService.describeTaskQueue({
        namespace,
        taskQueue: { name: taskQueue },
        taskQueueType: ACTIVITY_QUEUE,
        includeTaskQueueStatus: true,
      }),
    );
    return Number(taskQueueStatus?.backlogCountHint ?? 0);
  };
}
