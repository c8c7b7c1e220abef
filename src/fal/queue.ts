/** The queue's bodies (contract §2): pure translation from our records to fal's fields. */
import { appOf } from "../core/models/endpoint.ts";
import { CATALOGUE } from "../core/errors/catalogue.ts";
import type { ErrorInfo } from "../core/errors/tempera-error.ts";
import { parseEventId } from "../core/requests/event-id.ts";
import type { LoggedEvent, Progress } from "../core/requests/events.ts";
import type { JsonObject } from "../core/json/json.ts";
import { LIMITS } from "../core/limits.ts";
import type { RetryCondition } from "../core/models/model.ts";
import type { NodeState } from "../core/pipelines/node-states.ts";
import type { Metrics, Priority, RequestIdentity, RequestState } from "../core/requests/request.ts";

/**
 * The addresses of a request, in the short form that every client follows. `base` is the queue's root as the
 * caller reached it.
 */
export function requestUrls(
  base: string,
  { endpoint, requestId }: Pick<RequestIdentity, "endpoint" | "requestId">,
): JsonObject {
  const url = `${base}/${appOf(endpoint)}/requests/${requestId}`;
  return { response_url: url, status_url: `${url}/status`, cancel_url: `${url}/cancel` };
}

export const submitBody = (
  base: string,
  request: Pick<RequestIdentity, "endpoint" | "requestId">,
  position: number,
): JsonObject => ({
  status: "IN_QUEUE",
  request_id: request.requestId,
  gateway_request_id: request.requestId,
  ...requestUrls(base, request),
  queue_position: position,
  logs: null,
  metrics: {},
});

export interface StatusView extends Pick<RequestIdentity, "endpoint" | "requestId"> {
  state: RequestState;
  position: number;
  metrics: Metrics;
  /** Denoising steps done; our addition to fal's body, which clients pass through untouched. */
  progress?: Progress;
  error?: ErrorInfo;
  /** `undefined` when the caller did not ask for them: fal answers null then, and a list otherwise. */
  logs?: LoggedEvent[];
  /** Of a pipeline; our addition, as is what follows. */
  nodes?: readonly NodeState[];
  /** The request that this one runs again. */
  rerunOf?: string;
}

/** What a failed request's status says: fal's webhooks use the same sentence. */
function errorText({ code, message }: ErrorInfo): string {
  const { kind, status } = CATALOGUE[code];
  return kind === "input" || kind === "model" ? `Invalid status code: ${status}` : message;
}

export function statusBody(base: string, view: StatusView): JsonObject {
  const body: JsonObject = { status: view.state, request_id: view.requestId, ...requestUrls(base, view) };
  if (view.state === "IN_QUEUE") body.queue_position = view.position;
  body.logs = view.logs ? view.logs.flatMap(logEntry) : null;
  body.metrics = { ...view.metrics };
  if (view.state === "IN_PROGRESS" && view.progress && view.progress.steps > 0) {
    const { step, steps, remainingMs } = view.progress;
    body.progress = {
      step,
      steps,
      ...(remainingMs !== undefined && { remaining_seconds: Math.round(remainingMs / 100) / 10 }),
    };
  }
  if (view.state === "COMPLETED" && view.error) {
    body.error = errorText(view.error);
    body.error_type = view.error.code;
  }
  if (view.nodes) body.nodes = view.nodes.map(nodeEntry);
  if (view.rerunOf !== undefined) body.rerun_of = view.rerunOf;
  return body;
}

/** Named as in fal's stream of a workflow (contract §11.5). */
const nodeEntry = ({ node, endpoint, requestId, ended, cache, error }: NodeState): JsonObject => ({
  node_id: node,
  app_id: endpoint,
  request_id: requestId,
  status: ended ? "COMPLETED" : "IN_PROGRESS",
  ...(cache && { cache }),
  ...(error && { error: errorText(error), error_type: error.code }),
});

/** 202 until the end, 200 then: the fal SDK looks at nothing else (contract §2.2). */
export const statusCode = (state: RequestState): 200 | 202 => (state === "COMPLETED" ? 200 : 202);

/**
 * The time of a log line, to the microsecond: clients tell lines apart by time and text, so the lines of one
 * millisecond are numbered by their event ids, `<milliseconds>-<n>`.
 */
export function logTimestamp(id: string, atMs: number): string {
  const [ms = atMs, n = 0] = parseEventId(id) ?? [];
  return `${new Date(ms).toISOString().slice(0, -1)}${String(Math.min(n, 999)).padStart(3, "0")}Z`;
}

function logEntry({ id, atMs, event }: LoggedEvent): JsonObject[] {
  if (event.type !== "log") return [];
  return [{ timestamp: logTimestamp(id, atMs), message: event.message, level: event.level, source: "USER" }];
}

/** fal's clients spell it `1`/`0` (JavaScript) or `true`/`false` (Python). */
export const wantsLogs = (value: string | undefined): boolean =>
  value === "1" || value?.toLowerCase() === "true";

/** The nodes of a pipeline, our addition, are asked for in the same way. */
export const wantsNodes = (value: string | undefined): boolean => wantsLogs(value);

export interface SubmitOptions {
  priority: Priority;
  startTimeoutMs?: number;
  noRetry: boolean;
  /** The caller wants neither input nor output to be kept. */
  storeIo?: false;
  /** Extra attempts by kind of failure. */
  retryLimits?: Partial<Record<RetryCondition, number>>;
}

const RETRY_CONDITIONS: readonly RetryCondition[] = ["server_error", "timeout", "connection_error"];

/** `{"timeout": {"retries": 2}}`; what cannot be read is ignored. */
function readRetryLimits(header: string | undefined): SubmitOptions["retryLimits"] {
  let config: unknown;
  try {
    config = JSON.parse(header ?? "");
  } catch {
    return undefined;
  }
  if (typeof config !== "object" || config === null) return undefined;
  const limits = RETRY_CONDITIONS.flatMap((condition) => {
    const retries: unknown = (config as Record<string, { retries?: unknown } | null>)[condition]?.retries;
    return typeof retries === "number" && Number.isInteger(retries) && retries >= 0
      ? [[condition, retries] as const]
      : [];
  });
  return limits.length > 0 ? Object.fromEntries(limits) : undefined;
}

/** The headers that steer a submit (contract §2.1). What cannot be read is ignored, as fal does. */
export function submitOptions(header: (name: string) => string | undefined): SubmitOptions {
  const retryLimits = readRetryLimits(header("x-fal-retry-config"));
  const startTimeoutMs =
    readSeconds(header("x-fal-request-start-timeout")) ?? readSeconds(header("x-fal-request-timeout"));
  return {
    priority: header("x-fal-queue-priority")?.toLowerCase() === "low" ? "low" : "normal",
    ...(startTimeoutMs !== undefined && { startTimeoutMs }),
    ...(retryLimits && { retryLimits }),
    ...(["0", "false", "no"].includes(header("x-fal-store-io")?.trim().toLowerCase() ?? "") && {
      storeIo: false as const,
    }),
    noRetry: ["1", "true", "yes"].includes(header("x-fal-no-retry")?.toLowerCase() ?? ""),
  };
}

/**
 * `30`, `30.0` or `0.5` seconds as milliseconds; anything else, and what lies outside the limits, is
 * `undefined`.
 */
function readSeconds(value: string | undefined): number | undefined {
  if (value === undefined || !/^\d{1,9}(\.\d{1,9})?$/.test(value.trim())) return undefined;
  const ms = Math.round(Number(value) * 1000);
  return ms >= LIMITS.startTimeoutMsMin && ms <= LIMITS.startTimeoutMsMax ? ms : undefined;
}
