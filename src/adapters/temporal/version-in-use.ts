import type { Client } from "@temporalio/client";
import { taskQueueOf } from "../../core/models/model.ts";
import { createBacklog } from "./backlog.ts";
import { within } from "./within.ts";

const ANSWER_MS = 5_000;

/** Quotes a value for a query of Temporal's visibility. */
const quoted = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;

/**
 * Creates the check whether a model version may still be needed: by a job that runs on it, between attempts
 * or not; by a running pipeline or session that may use it; by a task that waits in its queue. It rejects
 * when Temporal does not answer.
 *
 * Temporal does not know the versions that pipelines and sessions use, so all that began before the version
 * was disabled count.
 */
export function createVersionInUse(client: Client) {
  const backlog = createBacklog(client);
  const count = async (query: string): Promise<number> =>
    (await within(ANSWER_MS, client.workflow.count(query))).count;
  return async (
    { endpoint, version }: { endpoint: string; version: string },
    disabledAtMs: number,
  ): Promise<boolean> => {
    const before = quoted(new Date(disabledAtMs).toISOString());
    const [jobs, others, waiting] = await Promise.all([
      count(
        `TemperaEndpoint = ${quoted(endpoint)} AND TemperaVersion = ${quoted(version)} ` +
          "AND ExecutionStatus = 'Running'",
      ),
      count(
        "WorkflowType IN ('pipeline', 'realtimeSession') AND ExecutionStatus = 'Running' " +
          `AND StartTime < ${before}`,
      ),
      backlog(taskQueueOf({ endpoint, version })),
    ]);
    return jobs + others + waiting > 0;
  };
}
