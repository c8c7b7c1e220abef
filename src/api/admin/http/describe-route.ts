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
  /** @default LIMITS.adminBodyBytesMax */
  bodyBytesMax?: number;
  /**
   * The handler reads the body as a stream. Two streams cannot be compared before one is read, so no
   * idempotency key is kept for the route. Use it only for changes that have the same effect when repeated.
   */
  streamsBody?: true;
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
  /** The status of a success. @default 200 */
  status?: 200 | 201 | 202 | 204;
  /** The schema of a success's body. Absent for 204, and for a handler that returns its own `Response`. */
  response?: A;
  /** The media type of the handler's own `Response`. */
  mediaType?: string;
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
  }),
});

/** Returns a route's description for the OpenAPI document. */
export function describeRoute(route: Route) {
  const { method, path, summary, scope, params, query, body, status = 200, audit, ifMatch } = route;
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
      ...(body && { body: { content: { "application/json": { schema: body } } } }),
    },
    responses: {
      [status]: {
        description: status === 204 ? "Success, without a body." : "Success.",
        ...(content && status !== 204 && { content }),
      },
      ...errorResponses(route),
    },
  };
}

function successContent({ response, mediaType }: Route) {
  if (response) return { "application/json": { schema: response } };
  return mediaType ? { [mediaType]: { schema: z.string() } } : undefined;
}

/** Returns the error replies of a route, by status. */
function errorResponses({ scope, params, query, body, ifMatch, errors = [] }: Route) {
  const codes: ErrorCode[] = [
    ...(scope === "none" ? [] : (["key_unknown"] as const)),
    ...(scope === "ADMIN" ? (["scope_missing"] as const) : []),
    ...(params || query || body ? (["input_invalid"] as const) : []),
    ...(ifMatch ? (["precondition_failed"] as const) : []),
    ...(ifMatch === "required" ? (["precondition_required"] as const) : []),
    ...errors,
  ];
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of new Set(codes)) {
    const { status } = CATALOGUE[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  const content = { "application/json": { schema: ERROR } };
  return Object.fromEntries(
    [...byStatus].map(([status, each]) => [status, { description: each.join(", "), content }]),
  );
}

/** `/v1/serverless/apps/…` → `serverless`. */
const tagOf = (path: string): string =>
  path.split("/").find((part) => part !== "" && part !== "v1" && part !== "tempera") ?? "v1";
