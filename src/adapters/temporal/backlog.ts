import type { Client } from "@temporalio/client";
import { within } from "./within.ts";

/** TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY of Temporal's API. */
const ACTIVITY_QUEUE = 2;
const ANSWER_MS = 2_000;

/**
 * How many activity tasks wait in a task queue because nobody has taken them. Rejects when Temporal does not
 * answer.
 *
 * Asks for the older of Temporal's two counts: the newer one (`reportStats`) is remembered by the server for
 * five seconds.
 */
export const createBacklog =
  ({ connection, options: { namespace } }: Client) =>
  async (taskQueue: string): Promise<number> => {
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
