import { z } from "@hono/zod-openapi";
import { CATALOGUE, type ErrorCode } from "../../../core/errors/catalogue.ts";
import type { Scope } from "../../../core/owners/key.ts";

export type Fields = z.ZodObject;
type Method = "get" | "post" | "put" | "patch" | "delete";

/** Who may call a verb. `optional`: a key is looked at when there is one. */
export type VerbScope = Scope | "optional" | "none";

/** What a verb is: its contract, and all that the OpenAPI document says of it. */
export interface Verb<
  S extends VerbScope = VerbScope,
  P extends Fields = Fields,
  Q extends Fields = Fields,
  B extends z.ZodType = z.ZodType,
  A extends z.ZodType = z.ZodType,
> {
  method: Method;
  /** As OpenAPI has it: `/v1/keys/{key_id}`. */
  path: string;
  /** The last parameter of the path that may hold slashes, such as an endpoint's name. */
  slashes?: string;
  /** One sentence. */
  says: string;
  scope: S;
  params?: P;
  query?: Q;
  /** Of at most `bodyBytesMax`. An absent one is read as `{}`. */
  body?: B;
  /** For a verb whose body may be larger or must be smaller; `LIMITS.adminBodyBytesMax` when absent. */
  bodyBytesMax?: number;
  /**
   * Its body is a stream that the handler reads: two of them cannot be compared before one is taken in, so no
   * idempotency key is kept for it. Only for what is the same when it is made twice.
   */
  streams?: true;
  /**
   * A browser's own way of sending a key (`Authorization: Basic`) is taken as well. Only for what changes
   * nothing: any page can make a browser send it.
   */
  basic?: true;
  /**
   * The action in the audit record. Absent for reads only; `null` for another method that changes nothing.
   */
  audit?: string | null;
  /** It changes what several people may change at once (`revision.ts`). */
  ifMatch?: "required" | "optional";
  /** Of a good answer; 200 when absent. */
  status?: 200 | 201 | 202 | 204;
  /** The body of a good answer. Absent: none (204), or a `Response` of the handler's own. */
  answer?: A;
  /** The media type of a `Response` of the handler's own. */
  media?: string;
  /** What it may refuse with beyond `scope` and an input that does not fit. */
  errors?: ErrorCode[];
}

/** The body of every answer that refuses (contract §7.3). */
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
      code: z.string().openapi({ description: "The code of docs/errors.md." }),
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
  "if-match": z
    .string()
    .openapi({ description: "The ETag of what was read, or `*` to overwrite whatever is there." }),
});

/** What the OpenAPI document says of a verb. */
export function describeVerb(verb: Verb<never, never, never, never, never> | Verb) {
  const {
    method,
    path,
    says,
    scope,
    params,
    query,
    body,
    answer,
    media,
    status = 200,
    errors = [],
    audit,
    ifMatch,
  } = verb as Verb;
  const refusals: ErrorCode[] = [
    ...(scope === "none" ? [] : (["key_unknown"] as const)),
    ...(scope === "ADMIN" ? (["scope_missing"] as const) : []),
    ...(params || query || body ? (["input_invalid"] as const) : []),
    ...(ifMatch ? (["changed_meanwhile"] as const) : []),
    ...(ifMatch === "required" ? (["version_required"] as const) : []),
    ...errors,
  ];
  const byStatus = new Map<number, string[]>();
  for (const code of new Set(refusals))
    byStatus.set(CATALOGUE[code].status, [...(byStatus.get(CATALOGUE[code].status) ?? []), code]);
  const content = answer
    ? { "application/json": { schema: answer } }
    : media
      ? { [media]: { schema: z.string() } }
      : undefined;
  return {
    method,
    path,
    summary: says,
    tags: [subjectOf(path)],
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
        description: status === 204 ? "Done." : "Well.",
        ...(content && status !== 204 && { content }),
      },
      ...Object.fromEntries(
        [...byStatus].map(([each, codes]) => [
          each,
          { description: codes.join(", "), content: { "application/json": { schema: ERROR } } },
        ]),
      ),
    },
  };
}

/** `/v1/serverless/apps/…` → `serverless`. */
const subjectOf = (path: string): string =>
  path.split("/").find((part) => part !== "" && part !== "v1" && part !== "tempera") ?? "v1";
