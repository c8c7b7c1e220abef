/**
 * Headers and bodies of the queue (contract §2): translates our records to fal's fields. Pure translation.
 */

import { CATALOGUE } from "../core/errors/catalogue.ts";
import type { ErrorInfo } from "../core/errors/tempera-error.ts";
import { parseJson } from "../core/json/exact-json.ts";
import type { JsonObject } from "../core/json/json.ts";
import { LIMITS } from "../core/limits.ts";
import { appOf } from "../core/models/endpoint.ts";
import type { RetryCondition } from "../core/models/model.ts";
import type { NodeState } from "../core/pipelines/node-states.ts";
import { type LoggedEvent, type Progress, parseEventId } from "../core/requests/events.ts";
import type { Metrics, Priority, RequestIdentity, RequestState } from "../core/requests/request.ts";

/**
 * Builds the addresses of a request, in the short form that every client follows.
 *
 * @param base the queue's root as the caller reached it
 */
export function requestUrls(
  base: string,
  { endpoint, requestId }: Pick<RequestIdentity, "endpoint" | "requestId">,
): JsonObject {
  const url = `${base}/${appOf(endpoint)}/requests/${requestId}`;
  return { response_url: url, status_url: `${url}/status`, cancel_url: `${url}/cancel` };
}

export function submitBody(
  base: string,
  request: Pick<RequestIdentity, "endpoint" | "requestId">,
  position: number,
): JsonObject {
  return {
    status: "IN_QUEUE",
    request_id: request.requestId,
    gateway_request_id: request.requestId,
    ...requestUrls(base, request),
    queue_position: position,
    logs: null,
    metrics: {},
  };
}

export interface StatusView extends Pick<RequestIdentity, "endpoint" | "requestId"> {
  state: RequestState;
  position: number;
  metrics: Metrics;
  /** Denoising steps done; our addition to fal's body, which clients pass through untouched. */
  progress?: Progress;
  error?: ErrorInfo;
  /** `undefined` when the caller did not request them: fal answers null then, and a list otherwise. */
  logs?: LoggedEvent[];
  /** The nodes of a pipeline. Our addition. */
  nodes?: readonly NodeState[];
  /** The id of the request that this one runs again. Our addition. */
  rerunOf?: string;
}

/** Words a failed request's error for its status, in the sentence that fal's webhooks use too. */
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

/** Describes a node with the field names of fal's workflow stream (contract §11.5). */
const nodeEntry = ({ node, endpoint, requestId, ended, cache, error }: NodeState): JsonObject => ({
  node_id: node,
  app_id: endpoint,
  request_id: requestId,
  status: ended ? "COMPLETED" : "IN_PROGRESS",
  ...(cache && { cache }),
  ...(error && { error: errorText(error), error_type: error.code }),
});

/** Gives 200 for a request that has ended and 202 before: fal's SDK reads nothing else (contract §2.2). */
export function statusCode(state: RequestState): 200 | 202 {
  return state === "COMPLETED" ? 200 : 202;
}

/**
 * Formats the time of a log line, to the microsecond. Clients distinguish lines by time and text, so the
 * lines of one millisecond are numbered by their event ids, `<milliseconds>-<n>`.
 */
export function logTimestamp(id: string, atMs: number): string {
  const [ms = atMs, n = 0] = parseEventId(id) ?? [];
  return `${new Date(ms).toISOString().slice(0, -1)}${String(Math.min(n, 999)).padStart(3, "0")}Z`;
}

/**
 * Describes a log line. Level and source are there twice: the clients for JavaScript and Python read them
 * from the entry, those for Java, Kotlin and Swift from its labels, and fail without.
 */
function logEntry({ id, atMs, event }: LoggedEvent): JsonObject[] {
  if (event.type !== "log") return [];
  const { level, message } = event;
  const source = "USER";
  return [{ timestamp: logTimestamp(id, atMs), message, level, source, labels: { level, source } }];
}

/** Reads the `logs` parameter. fal's clients write `1`/`0` (JavaScript) or `true`/`false` (Python). */
export function wantsLogs(value: string | undefined): boolean {
  return value === "1" || value?.toLowerCase() === "true";
}

/** Reads the `queue_logs` parameter, our addition: log lines of a waiting request in its status stream. */
export function wantsQueueLogs(value: string | undefined): boolean {
  return wantsLogs(value);
}

/** Reads the `nodes` parameter, our addition for pipelines, which has the form of `logs`. */
export function wantsNodes(value: string | undefined): boolean {
  return wantsLogs(value);
}

export interface SubmitOptions {
  priority: Priority;
  startTimeoutMs?: number;
  noRetry: boolean;
  /** False when neither input nor output may be stored beyond the request. */
  storeIo?: false;
  /** The most extra attempts for each kind of failure. */
  retryLimits?: Partial<Record<RetryCondition, number>>;
}

const RETRY_CONDITIONS: readonly RetryCondition[] = ["server_error", "timeout", "connection_error"];

/** Reads `{"timeout": {"retries": 2}}`. Entries that cannot be read are ignored. */
function readRetryLimits(header: string | undefined): SubmitOptions["retryLimits"] {
  let config: unknown;
  try {
    config = parseJson(header ?? "");
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

/**
 * Reads the headers that steer a submit (contract §2.1). Values that cannot be read are ignored, as at fal.
 */
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
 * Reads `30`, `30.0` or `0.5` seconds as milliseconds. Any other text, and a time outside the limits, is
 * `undefined`.
 */
function readSeconds(value: string | undefined): number | undefined {
  if (value === undefined || !/^\d{1,9}(\.\d{1,9})?$/.test(value.trim())) return undefined;
  const ms = Math.round(Number(value) * 1000);
  return ms >= LIMITS.startTimeoutMsMin && ms <= LIMITS.startTimeoutMsMax ? ms : undefined;
}
