import { z } from "@hono/zod-openapi";
import { CATALOGUE, type ErrorCode } from "../../../core/errors/catalogue.ts";
import type { Scope } from "../../../core/owners/key.ts";

export type Fields = z.ZodObject;
type Method = "get" | "post" | "put" | "patch" | "delete";

/** The key that a route needs. `optional`: a key is checked when the request has one. */
export type RouteScope = Scope | "optional" | "none";

/** The contract of a route, from which its OpenAPI description is made. */
export interface Route<
  S extends RouteScope = RouteScope,
  P extends Fields = Fields,
  Q extends Fields = Fields,
  B extends z.ZodType = z.ZodType,
  A extends z.ZodType = z.ZodType,
> {
  method: Method;
  /** The path in OpenAPI's form: `/v1/keys/{key_id}`. */
  path: string;
  /** The last parameter of the path, if it may contain slashes, such as an endpoint's name. */
  wildcard?: string;
  /** One or two sentences for the OpenAPI document. */
  summary: string;
  scope: S;
  params?: P;
  query?: Q;
  /** The JSON body, of at most `bodyBytesMax`. An absent body is read as `{}`. */
  body?: B;
  /** The handler refuses an absent body, though `body` permits an empty object. */
  bodyRequired?: true;
  /** @default LIMITS.adminBodyBytesMax */
  bodyBytesMax?: number;
  /**
   * The media type of a body that the handler reads as a stream. Two streams cannot be compared before one is
   * read, so no idempotency key is kept for the route. Use it only for changes that have the same effect when
   * repeated.
   */
  streamsBody?: string;
  /**
   * Also accepts a key in a browser's own form (`Authorization: Basic`). Use it only for routes that change
   * nothing: any web page can make a browser send it.
   */
  basicAuth?: true;
  /**
   * The action in the audit record. Absent for a GET; `null` for another method that changes nothing.
   */
  audit?: string | null;
  /** Marks a change of a resource with revisions (`etag.ts`). */
  ifMatch?: "required" | "optional";
  /** The status of a success; 501 for a route that has none yet. @default 200 */
  status?: 200 | 201 | 202 | 204 | 501;
  /** The schema of a success's body. Absent for 204, and for a handler that returns its own `Response`. */
  response?: A;
  /** Tells that the handler's own `Response` is a stream of server-sent events. */
  isEventStream?: true;
  /** The error codes of the handler, beyond those of `scope` and of input validation. */
  errors?: ErrorCode[];
}

/** The body of every error reply (contract §7.3). */
const ERROR = z
  .object({
    error: z.object({
      type: z.enum([
        "authorization_error",
        "validation_error",
        "not_found",
        "rate_limited",
        "server_error",
        "not_implemented",
      ]),
      message: z.string(),
      code: z.string().openapi({ description: "The error code (docs/errors.md)." }),
      faults: z
        .array(
          z.object({ loc: z.array(z.union([z.string(), z.number()])), msg: z.string(), type: z.string() }),
        )
        .optional(),
      request_id: z.string(),
    }),
  })
  .openapi("Error");

const IF_MATCH = z.object({
  "if-match": z.string().openapi({
    description: "The ETag of the state that the change is based on, or `*` to overwrite any state.",
    pattern: '^\\*$|^(W/)?"[0-9]{1,15}"$',
  }),
});

const BYTES = { type: "string" as const, format: "binary" };

/** Returns a route's description for the OpenAPI document. */
export function describeRoute(route: Route) {
  const { method, path, summary, scope, params, query, body, status = 200, audit, ifMatch } = route;
  const { streamsBody, bodyRequired } = route;
  const content = successContent(route);
  return {
    method,
    path,
    summary,
    tags: [tagOf(path)],
    ...(scope !== "none" && { security: scope === "optional" ? [{}, { key: [] }] : [{ key: [] }] }),
    "x-tempera-scope": scope,
    ...(audit && { "x-tempera-audit": audit }),
    request: {
      ...(params && { params }),
      ...(query && { query }),
      ...(ifMatch && { headers: ifMatch === "required" ? IF_MATCH : IF_MATCH.partial() }),
      ...(body && {
        // An absent body is read as `{}`.
        body: {
          required: bodyRequired === true || !body.safeParse({}).success,
          content: { "application/json": { schema: body } },
        },
      }),
      ...(streamsBody && { body: { required: true, content: { [streamsBody]: { schema: BYTES } } } }),
    },
    responses: {
      ...(status !== 501 && {
        [status]: {
          description: status === 204 ? "Success, without a body." : "Success.",
          ...(content && status !== 204 && { content }),
        },
      }),
      ...errorResponses(route),
    },
  };
}

/** One event of a stream. Before OpenAPI 3.2 the schema of a stream is read as that of each event. */
const SERVER_SENT_EVENT = z.object({
  data: z.string().describe("JSON"),
  event: z.string().optional(),
  id: z.string().optional(),
});

function successContent({ response, isEventStream }: Route) {
  if (response) return { "application/json": { schema: response } };
  return isEventStream && { "text/event-stream": { schema: SERVER_SENT_EVENT } };
}

/** Codes that every route may reply with, whatever it does: the service itself refuses or fails. */
const OF_EVERY_ROUTE: ErrorCode[] = ["too_many_auth_failures", "server_error", "store_unavailable"];

const OF_KEYS: ErrorCode[] = [
  "key_missing",
  "key_malformed",
  "key_unknown",
  "key_expired",
  "key_pepper_missing",
  "key_endpoint_forbidden",
  "key_address_forbidden",
  "key_read_only",
];
const OF_JSON_BODIES: ErrorCode[] = [
  "body_not_json",
  "request_body_timeout",
  "body_too_large",
  "content_encoding_unsupported",
  "concurrent_requests_limit",
  "capacity_limit",
];

/** Returns the codes of the framework and of the handler. */
function codesOf({
  method,
  scope,
  params,
  query,
  body,
  ifMatch,
  audit,
  streamsBody,
  errors = [],
}: Route): ErrorCode[] {
  return [
    ...OF_EVERY_ROUTE,
    ...(scope === "none" ? [] : OF_KEYS),
    ...(scope === "ADMIN" ? (["scope_missing"] as const) : []),
    ...(scope !== "ADMIN" && method !== "get" ? (["rate_limited"] as const) : []),
    ...(body ? OF_JSON_BODIES : []),
    ...(params || query || body ? (["input_invalid"] as const) : []),
    ...(audit && !streamsBody ? (["idempotency_key_reused", "store_full"] as const) : []),
    ...(ifMatch ? (["precondition_failed"] as const) : []),
    ...(ifMatch === "required" ? (["precondition_required"] as const) : []),
    ...errors,
  ];
}

const RETRY_AFTER = {
  "Retry-After": {
    description: "Seconds after which the call may be made again.",
    schema: { type: "integer" as const, minimum: 1 },
  },
};

/** Returns the error replies of a route, by status. */
function errorResponses(route: Route) {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of new Set(codesOf(route))) {
    const { status } = CATALOGUE[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  const content = { "application/json": { schema: ERROR } };
  const replies = [...byStatus].map(([status, each]) => [
    status,
    {
      description: each.join(", "),
      content,
      ...((status === 429 || status === 503) && { headers: RETRY_AFTER }),
    },
  ]);
  return {
    ...Object.fromEntries(replies),
    431: { description: "The head of the call is too large. The reply has no body." },
  };
}

/** `/v1/serverless/apps/…` → `serverless`. */
const tagOf = (path: string): string =>
  path.split("/").find((part) => part !== "" && part !== "v1" && part !== "tempera") ?? "v1";
