/**
 * The error catalogue: the only place an error code is born.
 *
 * `kind` decides the body a fal client sees (fal contract §7):
 * - `input`   422 with a list of faults, `{"detail":[{loc,msg,type,…}]}`: the caller's input does not fit the model
 * - `model`   the same list under a status of its own: the model failed, and says how
 * - `request` `{"detail":text,"error_type":code}` and `X-Fal-Error-Type`: the platform could not carry the request out
 * - `gateway` `{"detail":text}`: refused at the door, nothing was queued
 *
 * `says` is what the public reads; a thrown error may carry a more exact sentence. `docs/errors.md` equals
 * this table (tested).
 */
export interface ErrorEntry {
  kind: "input" | "model" | "request" | "gateway";
  status: number;
  /** Whether the same call may succeed later without a change by the caller. */
  retryable: boolean;
  says: string;
}

export const CATALOGUE = {
  // The caller's input.
  input_invalid: { kind: "input", status: 422, retryable: false, says: "The input does not fit this model." },

  idempotency_key_reused: {
    kind: "input",
    status: 422,
    retryable: false,
    says: "This idempotency key was used with another input before.",
  },
  file_download_error: {
    kind: "input",
    status: 422,
    retryable: false,
    says: "A file that the input names cannot be downloaded.",
  },
  file_too_large: {
    kind: "input",
    status: 422,
    retryable: false,
    says: "A file that the input names is too large.",
  },

  // The model, in fal's own words for it (fal contract §7.1). What is wrong with an input is a type of a
  // fault of `input_invalid`.
  internal_server_error: { kind: "model", status: 500, retryable: false, says: "The model failed." },
  generation_timeout: {
    kind: "model",
    status: 504,
    retryable: true,
    says: "The model did not finish in the time it gives itself.",
  },
  downstream_service_error: {
    kind: "model",
    status: 400,
    retryable: false,
    says: "A service that the model asks refused what it was asked.",
  },
  downstream_service_unavailable: {
    kind: "model",
    status: 500,
    retryable: true,
    says: "A service that the model asks cannot be reached.",
  },

  // The platform, while it carried a request (fal contract §7.2).
  request_timeout: {
    kind: "request",
    status: 504,
    retryable: true,
    says: "The request ran longer than its model allows.",
  },
  startup_timeout: {
    kind: "request",
    status: 504,
    retryable: true,
    says: "The request did not start within the time its caller allowed.",
  },
  runner_scheduling_failure: {
    kind: "request",
    status: 503,
    retryable: true,
    says: "No runner could take the request.",
  },
  runner_connection_timeout: {
    kind: "request",
    status: 503,
    retryable: true,
    says: "The runner did not answer in time.",
  },
  runner_disconnected: {
    kind: "request",
    status: 503,
    retryable: true,
    says: "The runner went away while it was working.",
  },
  runner_connection_refused: {
    kind: "request",
    status: 503,
    retryable: true,
    says: "The runner refused the connection.",
  },
  runner_connection_error: {
    kind: "request",
    status: 503,
    retryable: true,
    says: "The connection to the runner failed.",
  },
  runner_incomplete_response: {
    kind: "request",
    status: 502,
    retryable: true,
    says: "The runner ended before it gave a whole answer.",
  },
  runner_server_error: {
    kind: "request",
    status: 500,
    retryable: false,
    says: "The runner failed on this request.",
  },
  concurrent_requests_limit: {
    kind: "request",
    status: 429,
    retryable: true,
    says: "The caller has as many runs, streams or realtime sessions open as it may.",
  },
  rate_limited: {
    kind: "request",
    status: 429,
    retryable: true,
    says: "The caller makes more calls than it may. Try again later.",
  },
  queued_requests_limit: {
    kind: "request",
    status: 429,
    retryable: true,
    says: "The caller has as many requests in the queue as it may. Try again when some have ended.",
  },
  upload_limit: {
    kind: "request",
    status: 429,
    retryable: true,
    says: "The caller has uploaded as many bytes today as it may.",
  },
  pipeline_limit: {
    kind: "request",
    status: 400,
    retryable: false,
    says: "The pipeline is larger than this server runs.",
  },
  pipeline_failed: {
    kind: "request",
    status: 500,
    retryable: false,
    says: "The pipeline's own code failed.",
  },
  client_disconnected: {
    kind: "request",
    status: 499,
    retryable: false,
    says: "The caller went away before the answer.",
  },
  client_cancelled: {
    kind: "request",
    status: 499,
    retryable: false,
    says: "The request was cancelled by its caller.",
  },
  bad_request: { kind: "request", status: 400, retryable: false, says: "The request cannot be understood." },
  internal_error: {
    kind: "request",
    status: 500,
    retryable: true,
    says: "Something failed inside the platform.",
  },

  // The door.
  key_missing: {
    kind: "gateway",
    status: 401,
    retryable: false,
    says: "Authentication is required to access this application.",
  },
  key_malformed: {
    kind: "gateway",
    status: 401,
    retryable: false,
    says: "Invalid Key Authorization header format. Expected '<key_id>:<key_secret>'.",
  },
  key_unknown: {
    kind: "gateway",
    status: 401,
    retryable: false,
    says: "No user found for Key ID and Secret",
  },
  key_expired: { kind: "gateway", status: 401, retryable: false, says: "The key has expired." },
  key_pepper_missing: {
    kind: "gateway",
    status: 503,
    retryable: false,
    says: "The key was stored with a pepper that this process was not given.",
  },
  payload_unreadable: {
    kind: "request",
    status: 500,
    retryable: true,
    says: "What Temporal stores of the request is encrypted with a key that this process does not have.",
  },
  key_not_found: {
    kind: "gateway",
    status: 404,
    retryable: false,
    says: "There is no such key, or it was revoked before.",
  },
  keys_tried: {
    kind: "gateway",
    status: 429,
    retryable: true,
    says: "Too many wrong keys came from this address. Try again later.",
  },
  spend_exhausted: {
    kind: "gateway",
    status: 403,
    retryable: false,
    says: "User is locked. Reason: Exhausted balance.",
  },
  token_invalid: {
    kind: "gateway",
    status: 401,
    retryable: false,
    says: "The token is not valid, has expired, or its key was revoked.",
  },
  token_forbidden: {
    kind: "gateway",
    status: 403,
    retryable: false,
    says: "The token does not allow this application.",
  },
  scope_missing: {
    kind: "gateway",
    status: 403,
    retryable: false,
    says: "This key's scope does not allow that.",
  },
  endpoint_unknown: { kind: "gateway", status: 404, retryable: false, says: "Application not found" },
  path_unknown: { kind: "gateway", status: 404, retryable: false, says: "Path not found" },
  pipeline_unknown: { kind: "gateway", status: 404, retryable: false, says: "Workflow not found" },
  pipeline_exists: {
    kind: "gateway",
    status: 400,
    retryable: false,
    says: "You have a workflow of this name.",
  },
  pipelines_exhausted: {
    kind: "gateway",
    status: 400,
    retryable: false,
    says: "You have as many saved workflows as you may.",
  },
  request_unknown: { kind: "gateway", status: 404, retryable: false, says: "Request not found" },
  payload_gone: {
    kind: "gateway",
    status: 404,
    retryable: false,
    says: "The output of this request is no longer stored.",
  },
  request_unfinished: { kind: "gateway", status: 400, retryable: true, says: "Request is still in progress" },
  request_finished: {
    kind: "gateway",
    status: 400,
    retryable: false,
    says: "The request has already completed.",
  },
  rerun_impossible: {
    kind: "gateway",
    status: 400,
    retryable: false,
    says: "Only a pipeline's request can be run again in part.",
  },
  method_not_allowed: { kind: "gateway", status: 405, retryable: false, says: "Method Not Allowed" },
  realtime_unsupported: {
    kind: "gateway",
    status: 404,
    retryable: false,
    says: "This model has no realtime sessions.",
  },
  realtime_query_invalid: {
    kind: "gateway",
    status: 400,
    retryable: false,
    says: "The query of the realtime address cannot be read.",
  },
  sockets_exhausted: {
    kind: "gateway",
    status: 503,
    retryable: true,
    says: "This gateway has as many WebSockets open as it may. Try again later.",
  },
  websocket_required: {
    kind: "gateway",
    status: 426,
    retryable: false,
    says: "This address speaks WebSocket: connect to it directly; it has no plain HTTP and cannot be reached through the proxy.",
  },
  platform_api_elsewhere: {
    kind: "gateway",
    status: 421,
    retryable: false,
    says: "The Platform API is not served on this port but by the admin service, on the port TEMPERA_ADMIN_PORT (8081 by default).",
  },
  proxy_target_invalid: { kind: "gateway", status: 400, retryable: false, says: "Invalid request" },
  body_not_json: { kind: "gateway", status: 400, retryable: false, says: "The body is not a JSON object." },
  body_too_large: {
    kind: "gateway",
    status: 413,
    retryable: false,
    says: "The body is larger than this server accepts.",
  },
  body_overdue: {
    kind: "gateway",
    status: 408,
    retryable: true,
    says: "The body did not arrive in time. Try again.",
  },
  webhook_invalid: {
    kind: "gateway",
    status: 400,
    retryable: false,
    says: "The webhook address cannot be used.",
  },
  webhook_undelivered: {
    kind: "gateway",
    status: 502,
    retryable: true,
    says: "The webhook was not delivered.",
  },
  delivery_unknown: { kind: "gateway", status: 404, retryable: false, says: "There is no such delivery." },
  dead_letter_unknown: {
    kind: "gateway",
    status: 404,
    retryable: false,
    says: "There is no such dead letter.",
  },
  plan_unknown: { kind: "gateway", status: 404, retryable: false, says: "There is no such plan." },
  plan_in_use: {
    kind: "gateway",
    status: 400,
    retryable: false,
    says: "Owners have this plan; give them another one first.",
  },
  engine_unknown: { kind: "gateway", status: 404, retryable: false, says: "No GPU worker has such a model." },
  rotation_pending: {
    kind: "gateway",
    status: 409,
    retryable: true,
    says: "A new signing key is published already and does not sign yet.",
  },
  changed_meanwhile: {
    kind: "gateway",
    status: 412,
    retryable: false,
    says: "It was changed by somebody else since you read it; read it again and decide anew.",
  },
  version_required: {
    kind: "gateway",
    status: 428,
    retryable: false,
    says: "Send `If-Match` with the ETag of what you read, so that nobody else's change is overwritten, or `If-Match: *` to overwrite it.",
  },
  package_invalid: {
    kind: "gateway",
    status: 422,
    retryable: false,
    says: "The archive is no sound model package.",
  },
  version_taken: {
    kind: "gateway",
    status: 409,
    retryable: false,
    says: "This model version is published with other content.",
  },
  schema_breaks: {
    kind: "gateway",
    status: 409,
    retryable: false,
    says: "The schemas of this version break callers of the one before.",
  },
  version_unknown: {
    kind: "gateway",
    status: 404,
    retryable: false,
    says: "There is no such model version.",
  },
  rollout_unknown: {
    kind: "gateway",
    status: 404,
    retryable: false,
    says: "There is no such rollout, or it has ended.",
  },
  rollout_running: {
    kind: "gateway",
    status: 409,
    retryable: false,
    says: "A rollout that is running stands in the way.",
  },
  rollout_invalid: { kind: "gateway", status: 409, retryable: false, says: "There can be no such rollout." },
  flag_unknown: { kind: "gateway", status: 404, retryable: false, says: "There is no such flag." },
  switched_off: {
    kind: "gateway",
    status: 403,
    retryable: false,
    says: "An operator has switched this off.",
  },
  not_implemented: {
    kind: "gateway",
    status: 501,
    retryable: false,
    says: "This call of fal's Platform API is not implemented here.",
  },
  schedule_unknown: {
    kind: "gateway",
    status: 503,
    retryable: true,
    says: "No orchestrator has made this schedule yet. Start one, and try again.",
  },
  queue_full: {
    kind: "gateway",
    status: 429,
    retryable: true,
    says: "The queue is longer than the caller allowed.",
  },
  file_unknown: { kind: "gateway", status: 404, retryable: false, says: "File not found" },
  file_forbidden: { kind: "gateway", status: 403, retryable: false, says: "This file is not open to you." },
  upload_forbidden: {
    kind: "gateway",
    status: 403,
    retryable: false,
    says: "The upload address is not valid, or has expired.",
  },
  upload_unknown: { kind: "gateway", status: 404, retryable: false, says: "Upload not found" },
  upload_finished: {
    kind: "gateway",
    status: 409,
    retryable: false,
    says: "The file is there already, and files do not change.",
  },
  upload_parts_invalid: {
    kind: "gateway",
    status: 400,
    retryable: false,
    says: "The parts do not make up the file.",
  },
  upload_interrupted: {
    kind: "gateway",
    status: 400,
    retryable: true,
    says: "The upload broke off; nothing of it was kept. Try again.",
  },
  length_required: {
    kind: "gateway",
    status: 411,
    retryable: false,
    says: "The length of the body is not announced.",
  },
  range_unsatisfiable: {
    kind: "gateway",
    status: 416,
    retryable: false,
    says: "The range lies outside the file.",
  },
  temporal_unavailable: {
    kind: "gateway",
    status: 503,
    retryable: true,
    says: "The job queue cannot be reached; nothing was queued. Try again.",
  },
  store_unavailable: {
    kind: "gateway",
    status: 503,
    retryable: true,
    says: "A store cannot be reached. Try again.",
  },
  server_error: { kind: "gateway", status: 500, retryable: true, says: "Internal Server Error" },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof CATALOGUE;

export const isErrorCode = (value: unknown): value is ErrorCode =>
  typeof value === "string" && Object.hasOwn(CATALOGUE, value);
