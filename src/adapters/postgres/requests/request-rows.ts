/** Rows of the table `requests`, and their mapping to records, for every store that reads it. */
import type { LoggedEvent } from "../../../core/requests/events.ts";
import type { JobSpec } from "../../../core/requests/job.ts";
import type { Outcome, Priority, RequestIdentity } from "../../../core/requests/request.ts";
import type { DeadLetter, RequestRecord } from "../../../core/requests/request-store.ts";
import type { Sql } from "../connection.ts";

/** The columns that identify a request. */
export interface IdentityRow {
  request_id: string;
  owner_id: string;
  endpoint: string;
  version: string;
  task_queue: string;
  priority: Priority;
}

/** Selects the columns of an `IdentityRow`. */
export function identityColumns(sql: Sql) {
  return sql`request_id, owner_id, endpoint, version, task_queue, priority`;
}

export function identityOfRow(row: IdentityRow): RequestIdentity {
  return {
    requestId: row.request_id,
    ownerId: row.owner_id,
    endpoint: row.endpoint,
    version: row.version,
    taskQueue: row.task_queue,
    priority: row.priority,
  };
}

/** A whole row. */
export interface RequestRow extends IdentityRow {
  key_id: string;
  job: JobSpec;
  submitted_at: Date;
  started_at: Date | null;
  ended_at: Date | null;
  attempts: number;
  outcome: Outcome | null;
  logs: LoggedEvent[];
  parent_id: string | null;
  node_id: string | null;
}

export function recordOfRow(row: RequestRow): RequestRecord {
  return {
    ...identityOfRow(row),
    keyId: row.key_id,
    submittedAtMs: row.submitted_at.getTime(),
    ...(row.parent_id !== null && { node: { pipelineId: row.parent_id, id: row.node_id ?? "" } }),
    ...(row.job.rerunOf !== undefined && { rerunOf: row.job.rerunOf }),
    ...(row.started_at && { startedAtMs: row.started_at.getTime() }),
    ...(row.ended_at && { endedAtMs: row.ended_at.getTime() }),
    attempts: row.attempts,
    ...(row.outcome && { outcome: row.outcome }),
    logs: row.logs,
  };
}

/** A dead letter, joined with its request. `created_at` is the letter's. */
export interface DeadLetterRow extends Pick<IdentityRow, "request_id" | "owner_id" | "endpoint" | "version"> {
  reason: string;
  attempts: number;
  created_at: Date;
}

export function deadLetterOfRow(row: DeadLetterRow): DeadLetter {
  return {
    requestId: row.request_id,
    ownerId: row.owner_id,
    endpoint: row.endpoint,
    version: row.version,
    reason: row.reason,
    attempts: row.attempts,
    createdAtMs: row.created_at.getTime(),
  };
}
