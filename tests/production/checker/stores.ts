/** Reads PostgreSQL and Temporal at the end of a run, past the platform's own code. */
import { Client, Connection, WorkflowFailedError } from "@temporalio/client";
import { ApplicationFailure, CancelledFailure, TerminatedFailure } from "@temporalio/common";
import postgres from "postgres";
import { digestOf } from "./ledger.ts";

const AT_ONCE = 16;

/** An outcome as a store has it. */
export interface StoredOutcome {
  /** `ok`, or the error code. */
  end: string;
  /** The digest of the whole outcome, with attempts and times. */
  digest: string;
  /** The digest of its output, if that is inline. */
  output?: string;
}

export interface RequestRow {
  requestId: string;
  endpoint: string;
  isNode: boolean;
  webhookUrl?: string;
  outcome?: StoredOutcome;
  attempts: number;
}

export interface UsageRow {
  requestId: string;
  ok: boolean;
  attempts: number;
}

export interface WorkflowRecord {
  workflowId: string;
  type: string;
  status: string;
  /** The outcome with which it closed; a cancelled or terminated one has none. */
  outcome?: StoredOutcome;
  /** The webhook that it was started with, of a job that no client knows. */
  webhookUrl?: string;
}

/** Everything that the stores have at the end. */
export interface StoreRecords {
  requests: RequestRow[];
  usage: UsageRow[];
  deadLetters: { requestId: string; reason: string }[];
  workflows: WorkflowRecord[];
}

interface RawOutcome {
  ok: boolean;
  output?: { inline?: unknown };
  error?: { code: string };
}

/** Reads an outcome as a store keeps it. */
export function readOutcome(raw: RawOutcome): StoredOutcome {
  return {
    end: raw.ok ? "ok" : (raw.error?.code ?? "error"),
    digest: digestOf(raw),
    ...(raw.output?.inline !== undefined && { output: digestOf(raw.output.inline) }),
  };
}

/** Reads both stores. */
export async function readStores(options: {
  databaseUrl: string;
  temporalAddress: string;
}): Promise<StoreRecords> {
  const [rows, workflows] = await Promise.all([
    readPostgres(options.databaseUrl),
    readTemporal(options.temporalAddress),
  ]);
  return { ...rows, workflows };
}

async function readPostgres(url: string): Promise<Omit<StoreRecords, "workflows">> {
  const sql = postgres(url, { max: 2, onnotice: () => {} });
  try {
    const requests = await sql`
      select request_id, endpoint, attempts, outcome, parent_id,
        job -> 'webhook' ->> 'url' as webhook_url
      from requests`;
    const usage = await sql`select request_id, ok, attempts from usage`;
    const dead = await sql`select request_id, reason from dead_letters`;
    return {
      requests: requests.map((row) => ({
        requestId: row.request_id,
        endpoint: row.endpoint,
        isNode: row.parent_id !== null,
        attempts: row.attempts,
        ...(row.webhook_url !== null && { webhookUrl: row.webhook_url }),
        ...(row.outcome && { outcome: readOutcome(row.outcome) }),
      })),
      usage: usage.map((row) => ({ requestId: row.request_id, ok: row.ok, attempts: row.attempts })),
      deadLetters: dead.map((row) => ({ requestId: row.request_id, reason: row.reason })),
    };
  } finally {
    await sql.end({ timeout: 1 });
  }
}

/** The workflow types that carry a request. */
const CARRIES_REQUEST = new Set(["inferenceJob", "pipeline"]);

async function readTemporal(address: string): Promise<WorkflowRecord[]> {
  const connection = await Connection.connect({ address });
  try {
    const client = new Client({ connection, namespace: "tempera" });
    const found: WorkflowRecord[] = [];
    for await (const { workflowId, type, status } of client.workflow.list())
      found.push({ workflowId, type, status: status.name });
    const toRead = found.filter(({ type, status }) => CARRIES_REQUEST.has(type) && status !== "RUNNING");
    const readNext = async (): Promise<void> => {
      for (let record = toRead.pop(); record; record = toRead.pop()) {
        Object.assign(record, await readWorkflow(client, record.workflowId));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, readNext));
    return found;
  } finally {
    await connection.close();
  }
}

async function readWorkflow(client: Client, workflowId: string): Promise<Partial<WorkflowRecord>> {
  const handle = client.workflow.getHandle(workflowId);
  try {
    return { outcome: readOutcome((await handle.result()) as RawOutcome) };
  } catch (error) {
    if (!(error instanceof WorkflowFailedError)) throw error;
    const { cause } = error;
    if (cause instanceof ApplicationFailure && cause.details?.[0])
      return { outcome: readOutcome(cause.details[0] as RawOutcome) };
    if (cause instanceof CancelledFailure) return {};
    if (cause instanceof TerminatedFailure) return webhookOf(client, workflowId);
    throw error;
  }
}

/** Reads the webhook from the job that a workflow was started with. */
async function webhookOf(client: Client, workflowId: string): Promise<Partial<WorkflowRecord>> {
  const { events } = await client.workflow.getHandle(workflowId).fetchHistory();
  const data = events?.[0]?.workflowExecutionStartedEventAttributes?.input?.payloads?.[0]?.data;
  const job = JSON.parse(Buffer.from(data ?? "{}").toString()) as { webhook?: { url?: string } };
  return job.webhook?.url === undefined ? {} : { webhookUrl: job.webhook.url };
}

/** Lists the workflows that are open, apart from the periodic ones. */
export async function openWorkflows(address: string): Promise<string[]> {
  const connection = await Connection.connect({ address });
  try {
    const { workflow } = new Client({ connection, namespace: "tempera" });
    const found: string[] = [];
    const query =
      "ExecutionStatus = 'Running' AND WorkflowType IN ('inferenceJob', 'pipeline', 'webhookDelivery')";
    for await (const { workflowId } of workflow.list({ query })) found.push(workflowId);
    return found;
  } finally {
    await connection.close();
  }
}
