import { type Client, WorkflowNotFoundError } from "@temporalio/client";
import { decodeArrayFromPayloads } from "@temporalio/common/lib/internal-non-workflow/index.js";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { ClosedJob, ClosedJobs } from "../../core/requests/closed-jobs.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import { isWithdrawal } from "./withdrawal-reason.ts";

/** The workflow types that carry a request to its outcome. */
const TYPES = "WorkflowType IN ('inferenceJob', 'pipeline')";

const unavailable = (error: unknown): TemperaError =>
  new TemperaError("temporal_unavailable", undefined, { cause: error });

/** Creates the port to closed jobs, from Temporal's visibility store, which may be some seconds behind. */
export function createClosedJobs(client: Client): ClosedJobs {
  return {
    async *list({ fromMs, untilMs }, pageSize) {
      const [from, until] = [fromMs, untilMs].map((ms) => new Date(ms).toISOString());
      const query = `${TYPES} AND CloseTime >= '${from}' AND CloseTime < '${until}'`;
      let page: ClosedJob[] = [];
      try {
        for await (const { workflowId, status, closeTime } of client.workflow.list({ query, pageSize })) {
          page.push({
            requestId: workflowId,
            ok: status.name === "COMPLETED",
            closedAtMs: closeTime?.getTime() ?? untilMs,
          });
          if (page.length < pageSize) continue;
          yield page;
          page = [];
        }
      } catch (error) {
        throw unavailable(error);
      }
      if (page.length > 0) yield page;
    },

    async started(requestId) {
      try {
        const { events } = await client.workflow.getHandle(requestId).fetchHistory();
        if (isWithdrawal(events?.at(-1))) return undefined;
        const [first] = events ?? [];
        const payloads = first?.workflowExecutionStartedEventAttributes?.input?.payloads;
        const [job] = await decodeArrayFromPayloads(client.options.loadedDataConverter, payloads ?? []);
        const seconds = Number(first?.eventTime?.seconds ?? 0);
        return job === undefined ? undefined : { job: job as JobSpec, startedAtMs: seconds * 1000 };
      } catch (error) {
        if (error instanceof WorkflowNotFoundError) return undefined;
        throw unavailable(error);
      }
    },
  };
}
