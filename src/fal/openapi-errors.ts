/** The errors of the queue's operations, as the OpenAPI document of an endpoint describes them. */
import { CATALOGUE, type ErrorCode } from "../core/errors/catalogue.ts";
import type { JsonObject } from "../core/json/json.ts";

/** The actions of the queue that a document describes. */
export type DescribedAction = "submit" | "status" | "cancel" | "result";

/** Codes by which the gateway may refuse any call. */
const OF_EVERY_CALL: ErrorCode[] = [
  "key_missing",
  "key_malformed",
  "key_unknown",
  "key_expired",
  "key_pepper_missing",
  "key_endpoint_forbidden",
  "key_address_forbidden",
  "key_read_only",
  "token_invalid",
  "token_forbidden",
  "too_many_auth_failures",
  "store_unavailable",
  "temporal_unavailable",
  "server_error",
];

const OF_ACTION: Record<DescribedAction, ErrorCode[]> = {
  submit: [
    "endpoint_unknown",
    "disabled_by_operator",
    "spend_limit",
    "storage_limit",
    "body_not_json",
    "webhook_invalid",
    "pipeline_limit",
    "request_body_timeout",
    "body_too_large",
    "content_encoding_unsupported",
    "input_invalid",
    "idempotency_key_reused",
    "queue_full",
    "queued_requests_limit",
    "rate_limited",
    "store_full",
  ],
  status: ["request_unknown"],
  cancel: ["request_unknown", "request_finished"],
  // The error of a request that failed is answered with the error's own status.
  result: ["request_unknown", "payload_gone", "request_unfinished", ...outcomeCodes()],
};

function outcomeCodes(): ErrorCode[] {
  return (Object.keys(CATALOGUE) as ErrorCode[]).filter((code) =>
    ["input", "model", "request"].includes(CATALOGUE[code].kind),
  );
}

/** The body of an error (contract §7): `status` is the word that status and cancel answer instead. */
export const QUEUE_ERROR: JsonObject = {
  title: "QueueError",
  type: "object",
  properties: {
    detail: {
      anyOf: [
        { type: "string" },
        {
          type: "array",
          items: {
            type: "object",
            required: ["loc", "msg", "type"],
            properties: {
              loc: { type: "array", items: { anyOf: [{ type: "string" }, { type: "integer" }] } },
              msg: { type: "string" },
              type: { type: "string" },
              url: { type: "string" },
              ctx: { type: "object", additionalProperties: true },
            },
          },
        },
      ],
      description: "The reason; for an input, its faults.",
    },
    error_type: { type: "string" },
    status: { type: "string", enum: ["NOT_FOUND", "ALREADY_COMPLETED"] },
  },
};

const RETRY_AFTER: JsonObject = {
  "Retry-After": {
    description: "Seconds after which the call may be made again.",
    schema: { type: "integer", minimum: 1 },
  },
};

/** Describes the error answers of an action, by status. */
export function errorAnswers(action: DescribedAction): JsonObject {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of new Set([...OF_EVERY_CALL, ...OF_ACTION[action]])) {
    const { status } = CATALOGUE[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  const answers = [...byStatus].map(([status, codes]) => [
    status,
    {
      description: codes.join(", "),
      ...((status === 429 || status === 503) && { headers: RETRY_AFTER }),
      content: { "application/json": { schema: { $ref: "#/components/schemas/QueueError" } } },
    },
  ]);
  return {
    ...Object.fromEntries(answers),
    431: { description: "The head of the call is too large. The answer has no body." },
  };
}
