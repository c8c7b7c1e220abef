import { LIMITS } from "../../../core/limits.ts";
import type { PipelineRun, PipelineRunStore } from "../../../core/pipelines/pipeline-run-store.ts";
import type { JobSpec } from "../../../core/requests/job.ts";
import { isRequestId, type Outcome } from "../../../core/requests/request.ts";
import { answer, type Sql } from "../connection.ts";

interface RunRow {
  job: JobSpec;
  outcome: Outcome | null;
}

const runOf = ({ job, outcome }: RunRow): PipelineRun => ({ job, ...(outcome && { outcome }) });

/** Creates the PostgreSQL store of pipeline runs. They are records of requests like any other. */
export function createPipelineRunStore(sql: Sql): PipelineRunStore {
  return {
    async find(requestId) {
      if (!isRequestId(requestId)) return undefined;
      const [row] = await answer(
        sql,
        sql<RunRow[]>`SELECT job, outcome FROM requests WHERE request_id = ${requestId}`,
      );
      return row && runOf(row);
    },

    async nodes(requestId) {
      const rows = await answer(
        sql,
        sql<RunRow[]>`
        SELECT job, outcome FROM requests WHERE parent_id = ${requestId}
        ORDER BY submitted_at, request_id LIMIT ${LIMITS.pipelineNodesMax}`,
      );
      return rows.map(runOf);
    },
  };
}
