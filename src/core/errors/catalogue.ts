/**
 * The error catalogue defines every error code of the platform: its status, its public message, and whether
 * the call can be retried. A test holds `docs/errors.md` equal to it.
 *
 * This folder has the catalogue and `TemperaError`, the one error class.
 */

/** One entry of the catalogue. */
export interface ErrorEntry {
  /**
   * The kind decides the body of the response to a fal client (fal contract §7):
   * - `input`   the input does not fit the model: 422 and a list of faults, `{"detail":[{loc,msg,type,…}]}`
   * - `model`   the model failed: the same list, under another status
   * - `request` the platform failed: `{"detail":text,"error_type":code}` and `X-Fal-Error-Type`
   * - `gateway` the gateway refused the call, and nothing was queued: `{"detail":text}`
   */
  kind: "input" | "model" | "request" | "gateway";
  status: number;
  /** The same call may succeed later without a change by the caller. */
  retryable: boolean;
  /** The public message; a thrown error may have a more exact one. */
  message: string;
}

export const CATALOGUE = {
  // The caller's input.
  input_invalid: {
    kind: "input",
    status: 422,
    retryable: false,
    message: "The input does not fit this model.",
  },

  idempotency_key_reused: {
    kind: "input",
    status: 422,
    retryable: false,
    message: "This idempotency key was used before with a different input.",
  },
  file_download_error: {
    kind: "input",
    status: 422,
    retryable: false,
    message: "A file named in the input cannot be downloaded.",
  },
  file_unavailable: {
    kind: "input",
    status: 422,
    retryable: true,
    message: "A file named in the input cannot be downloaded at present.",
  },
  file_too_large: {
    kind: "input",
    status: 422,
    retryable: false,
    message: "A file named in the input is too large.",
  },

  // Failures of the model, with fal's own codes (fal contract §7.1). Faults of an input have types of their
  // own, in the list of `input_invalid`.
  internal_server_error: { kind: "model", status: 500, retryable: false, message: "The model failed." },
  generation_timeout: {
    kind: "model",
    status: 504,
    retryable: true,
    message: "The model did not finish within its own time limit.",
  },
  downstream_service_error: {
    kind: "model",
    status: 400,
    retryable: false,
    message: "A service that the model depends on rejected the model's call.",
  },
  downstream_service_unavailable: {
    kind: "model",
    status: 500,
    retryable: true,
    message: "A service that the model depends on cannot be reached.",
  },

  // Failures of the platform while it ran a request (fal contract §7.2).
  request_timeout: {
    kind: "request",
    status: 504,
    retryable: true,
    message: "The request ran longer than its model allows.",
  },
  startup_timeout: {
    kind: "request",
    status: 504,
    retryable: true,
    message: "The request did not start within the time its caller allowed.",
  },
  runner_scheduling_failure: {
    kind: "request",
    status: 503,
    retryable: true,
    message: "No runner could take the request.",
  },
  runner_connection_timeout: {
    kind: "request",
    status: 503,
    retryable: true,
    message: "The runner did not answer in time.",
  },
  runner_disconnected: {
    kind: "request",
    status: 503,
    retryable: true,
    message: "The runner disconnected while it was working.",
  },
  runner_connection_refused: {
    kind: "request",
    status: 503,
    retryable: true,
    message: "The runner refused the connection.",
  },
  runner_connection_error: {
    kind: "request",
    status: 503,
    retryable: true,
    message: "The connection to the runner failed.",
  },
  runner_incomplete_response: {
    kind: "request",
    status: 502,
    retryable: true,
    message: "The runner stopped before its response was complete.",
  },
  runner_device_fault: {
    kind: "request",
    status: 503,
    retryable: true,
    message: "The device of the runner faulted while it was working.",
  },
  runner_out_of_memory: {
    kind: "request",
    status: 500,
    retryable: false,
    message: "The device of the runner has too little memory for this request.",
  },
  runner_server_error: {
    kind: "request",
    status: 500,
    retryable: false,
    message: "The runner failed on this request.",
  },
  input_quarantined: {
    kind: "request",
    status: 422,
    retryable: false,
    message: "This input crashed or hung the engine of its model twice, and is refused for an hour.",
  },
  engine_crash_limit: {
    kind: "request",
    status: 429,
    retryable: true,
    message: "The caller's requests have crashed the engine of this model too often. Try again later.",
  },
  concurrent_requests_limit: {
    kind: "request",
    status: 429,
    retryable: true,
    message: "The caller has reached its limit of what it may hold at once: runs, streams, sockets, bodies.",
  },
  rate_limited: {
    kind: "request",
    status: 429,
    retryable: true,
    message: "The caller has exceeded its rate limit. Try again later.",
  },
  queued_requests_limit: {
    kind: "request",
    status: 429,
    retryable: true,
    message: "The caller has reached its limit of queued requests. Try again when some have ended.",
  },
  upload_limit: {
    kind: "request",
    status: 429,
    retryable: true,
    message: "The caller has reached its limit of uploaded bytes per day.",
  },
  storage_limit: {
    kind: "request",
    status: 413,
    retryable: false,
    message: "The caller has reached its limit of stored bytes or files.",
  },
  output_too_large: {
    kind: "request",
    status: 413,
    retryable: false,
    message: "The files of this request are together larger than this server stores for one request.",
  },
  pipeline_limit: {
    kind: "request",
    status: 400,
    retryable: false,
    message: "The pipeline exceeds the limits of this server.",
  },
  pipeline_failed: {
    kind: "request",
    status: 500,
    retryable: false,
    message: "The pipeline's own code failed.",
  },
  client_disconnected: {
    kind: "request",
    status: 499,
    retryable: false,
    message: "The caller disconnected before the response.",
  },
  client_cancelled: {
    kind: "request",
    status: 499,
    retryable: false,
    message: "The request was cancelled by its caller.",
  },
  bad_request: {
    kind: "request",
    status: 400,
    retryable: false,
    message: "The request cannot be understood.",
  },
  internal_error: {
    kind: "request",
    status: 500,
    retryable: true,
    message: "Something failed inside the platform.",
  },

  // Refusals by the gateway.
  key_missing: {
    kind: "gateway",
    status: 401,
    retryable: false,
    message: "Authentication is required to access this application.",
  },
  key_malformed: {
    kind: "gateway",
    status: 401,
    retryable: false,
    message: "Invalid Key Authorization header format. Expected '<key_id>:<key_secret>'.",
  },
  key_unknown: {
    kind: "gateway",
    status: 401,
    retryable: false,
    message: "No user found for Key ID and Secret",
  },
  key_expired: { kind: "gateway", status: 401, retryable: false, message: "The key has expired." },
  key_endpoint_forbidden: {
    kind: "gateway",
    status: 403,
    retryable: false,
    message: "This key may not call this endpoint.",
  },
  key_address_forbidden: {
    kind: "gateway",
    status: 403,
    retryable: false,
    message: "This key may not be used from this address.",
  },
  key_read_only: {
    kind: "gateway",
    status: 403,
    retryable: false,
    message: "This key is for reading only.",
  },
  key_pepper_missing: {
    kind: "gateway",
    status: 503,
    retryable: false,
    message: "The key was stored with a pepper that this process does not have.",
  },
  payload_unreadable: {
    kind: "request",
    status: 500,
    retryable: true,
    message: "Temporal stores this request encrypted with a key that this process does not have.",
  },
  key_not_found: {
    kind: "gateway",
    status: 404,
    retryable: false,
    message: "There is no such key, or it was already revoked.",
  },
  too_many_auth_failures: {
    kind: "gateway",
    status: 429,
    retryable: true,
    message: "Too many wrong keys came from this address. Try again later.",
  },
  spend_limit: {
    kind: "gateway",
    status: 403,
    retryable: false,
    message: "User is locked. Reason: Exhausted balance.",
  },
  token_invalid: {
    kind: "gateway",
    status: 401,
    retryable: false,
    message: "The token is invalid or expired, or its key was revoked.",
  },
  token_forbidden: {
    kind: "gateway",
    status: 403,
    retryable: false,
    message: "The token does not allow this application.",
  },
  scope_missing: {
    kind: "gateway",
    status: 403,
    retryable: false,
    message: "The scope of this key does not allow this call.",
  },
  endpoint_unknown: { kind: "gateway", status: 404, retryable: false, message: "Application not found" },
  path_unknown: { kind: "gateway", status: 404, retryable: false, message: "Path not found" },
  pipeline_unknown: { kind: "gateway", status: 404, retryable: false, message: "Workflow not found" },
  pipeline_exists: {
    kind: "gateway",
    status: 400,
    retryable: false,
    message: "You already have a workflow with this name.",
  },
  saved_pipelines_limit: {
    kind: "gateway",
    status: 400,
    retryable: false,
    message: "You have reached your limit of saved workflows.",
  },
  request_unknown: { kind: "gateway", status: 404, retryable: false, message: "Request not found" },
  payload_gone: {
    kind: "gateway",
    status: 404,
    retryable: false,
    message: "The output of this request is no longer stored.",
  },
  request_unfinished: {
    kind: "gateway",
    status: 400,
    retryable: true,
    message: "Request is still in progress",
  },
  request_finished: {
    kind: "gateway",
    status: 400,
    retryable: false,
    message: "The request has already completed.",
  },
  rerun_unsupported: {
    kind: "gateway",
    status: 400,
    retryable: false,
    message: "Only a request of a pipeline can be rerun in part.",
  },
  method_not_allowed: { kind: "gateway", status: 405, retryable: false, message: "Method Not Allowed" },
  realtime_unsupported: {
    kind: "gateway",
    status: 404,
    retryable: false,
    message: "This model does not support realtime sessions.",
  },
  realtime_query_invalid: {
    kind: "gateway",
    status: 400,
    retryable: false,
    message: "The query of the realtime address cannot be parsed.",
  },
  capacity_limit: {
    kind: "gateway",
    status: 503,
    retryable: true,
    message: "This server has reached a limit of what it holds for all callers. Try again later.",
  },
  websocket_required: {
    kind: "gateway",
    status: 426,
    retryable: false,
    message:
      "This address speaks WebSocket only. Connect to it directly; it cannot be reached " +
      "through the proxy.",
  },
  misdirected_request: {
    kind: "gateway",
    status: 421,
    retryable: false,
    message:
      "The Platform API is not served on this port. Call the admin service, on the port " +
      "TEMPERA_ADMIN_PORT (8081 by default).",
  },
  proxy_target_invalid: { kind: "gateway", status: 400, retryable: false, message: "Invalid request" },
  body_not_json: {
    kind: "gateway",
    status: 400,
    retryable: false,
    message: "The body is not a JSON object.",
  },
  content_encoding_unsupported: {
    kind: "gateway",
    status: 415,
    retryable: false,
    message: "The body has a content encoding that is not read; send gzip, deflate or br, or none.",
  },
  body_too_large: {
    kind: "gateway",
    status: 413,
    retryable: false,
    message: "The body is larger than this server accepts.",
  },
  request_body_timeout: {
    kind: "gateway",
    status: 408,
    retryable: true,
    message: "The body did not arrive in time. Try again.",
  },
  webhook_invalid: {
    kind: "gateway",
    status: 400,
    retryable: false,
    message: "The webhook address cannot be used.",
  },
  webhook_undelivered: {
    kind: "gateway",
    status: 502,
    retryable: true,
    message: "The webhook was not delivered.",
  },
  delivery_unknown: { kind: "gateway", status: 404, retryable: false, message: "There is no such delivery." },
  dead_letter_unknown: {
    kind: "gateway",
    status: 404,
    retryable: false,
    message: "There is no such dead letter.",
  },
  plan_unknown: { kind: "gateway", status: 404, retryable: false, message: "There is no such plan." },
  plan_in_use: {
    kind: "gateway",
    status: 400,
    retryable: false,
    message: "This plan is in use. Give its owners another plan first.",
  },
  engine_unknown: {
    kind: "gateway",
    status: 404,
    retryable: false,
    message: "No GPU worker serves this model.",
  },
  rotation_pending: {
    kind: "gateway",
    status: 409,
    retryable: true,
    message: "A new signing key is already published and does not sign yet.",
  },
  precondition_failed: {
    kind: "gateway",
    status: 412,
    retryable: false,
    message: "This was changed by somebody else after you read it. Read it again, then decide again.",
  },
  precondition_required: {
    kind: "gateway",
    status: 428,
    retryable: false,
    message:
      "Send `If-Match` with the ETag that you read, so that no other change is overwritten, or " +
      "`If-Match: *` to overwrite.",
  },
  package_invalid: {
    kind: "gateway",
    status: 422,
    retryable: false,
    message: "The archive is not a valid model package.",
  },
  version_taken: {
    kind: "gateway",
    status: 409,
    retryable: false,
    message: "This model version is already published with different content.",
  },
  breaking_schema_change: {
    kind: "gateway",
    status: 409,
    retryable: false,
    message: "The schemas of this version break callers of the previous version.",
  },
  version_unknown: {
    kind: "gateway",
    status: 404,
    retryable: false,
    message: "There is no such model version.",
  },
  rollout_unknown: {
    kind: "gateway",
    status: 404,
    retryable: false,
    message: "There is no such rollout, or it has ended.",
  },
  rollout_running: {
    kind: "gateway",
    status: 409,
    retryable: false,
    message: "A running rollout prevents this change.",
  },
  rollout_invalid: {
    kind: "gateway",
    status: 409,
    retryable: false,
    message: "A rollout between these versions is not possible.",
  },
  flag_unknown: { kind: "gateway", status: 404, retryable: false, message: "There is no such flag." },
  disabled_by_operator: {
    kind: "gateway",
    status: 403,
    retryable: false,
    message: "An operator has disabled this.",
  },
  not_implemented: {
    kind: "gateway",
    status: 501,
    retryable: false,
    message: "This call of fal's Platform API is not implemented here.",
  },
  schedule_unknown: {
    kind: "gateway",
    status: 503,
    retryable: true,
    message: "No orchestrator has created this schedule yet. Start an orchestrator and try again.",
  },
  queue_full: {
    kind: "gateway",
    status: 429,
    retryable: true,
    message: "The queue is longer than the caller allows.",
  },
  file_unknown: { kind: "gateway", status: 404, retryable: false, message: "File not found" },
  file_forbidden: { kind: "gateway", status: 403, retryable: false, message: "You may not read this file." },
  upload_forbidden: {
    kind: "gateway",
    status: 403,
    retryable: false,
    message: "The upload address is invalid or has expired.",
  },
  upload_unknown: { kind: "gateway", status: 404, retryable: false, message: "Upload not found" },
  upload_finished: {
    kind: "gateway",
    status: 409,
    retryable: false,
    message: "The file is already uploaded, and files cannot be changed.",
  },
  upload_parts_invalid: {
    kind: "gateway",
    status: 400,
    retryable: false,
    message: "The parts do not form the complete file.",
  },
  upload_interrupted: {
    kind: "gateway",
    status: 400,
    retryable: true,
    message: "The upload was interrupted and nothing of it was kept. Try again.",
  },
  length_required: {
    kind: "gateway",
    status: 411,
    retryable: false,
    message: "The request does not announce the length of its body.",
  },
  range_unsatisfiable: {
    kind: "gateway",
    status: 416,
    retryable: false,
    message: "The range lies outside the file.",
  },
  temporal_unavailable: {
    kind: "gateway",
    status: 503,
    retryable: true,
    message: "The job queue cannot be reached. Try again.",
  },
  store_unavailable: {
    kind: "gateway",
    status: 503,
    retryable: true,
    message: "A store cannot be reached. Try again.",
  },
  store_full: {
    kind: "request",
    status: 503,
    retryable: true,
    message: "A store has no space left, or takes no writes.",
  },
  server_error: { kind: "gateway", status: 500, retryable: true, message: "Internal Server Error" },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof CATALOGUE;

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === "string" && Object.hasOwn(CATALOGUE, value);
}
