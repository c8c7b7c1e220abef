/**
 * The framework of the admin service's routes. Each file of `admin/routes` is one resource (`keys.ts`,
 * `engines.ts`) and exports a function that adds its routes:
 *
 *     export function addKeyRoutes(addRoute: AddRoute, { keys }: Pick<ApiDependencies, "keys">) {
 *       addRoute(
 *         {
 *           method: "delete",
 *           path: "/v1/keys/{key_id}",
 *           summary: "Revokes a key.",
 *           scope: "ADMIN",                         // the key it needs: API, ADMIN, "optional" or "none"
 *           params: z.object({ key_id: z.uuid() }), // also `query` and `body`; a mismatch replies 422
 *           audit: "keys.revoke",                   // every change has one; `null` for a POST that reads
 *           status: 204,                            // default 200; `response` is the schema of the body
 *           errors: ["key_not_found"],              // codes of the catalogue, for the OpenAPI document
 *         },
 *         async ({ params, change }) =>
 *           // Writes the audit record around the change; `after` is the new state of the subject.
 *           change({ subject: params.key_id }, async () => { …; return { after: …, result: undefined }; }),
 *       );
 *     }
 *
 * `admin.ts` calls each of these functions once. The value that a handler returns becomes the body of the
 * reply and must have the type of `response`, so the OpenAPI document (`npm run schemas:openapi`) and the
 * code cannot differ. Handlers throw `TemperaError`; `error-reply.ts` translates it into the Platform API's
 * form. Lists use `PAGE_QUERY`, `pageAfter` and `paged` of `page.ts`. Resources that two admins may change at
 * the same time use `If-Match` (`etag.ts`).
 */

import type { OpenAPIHono, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { TemperaError } from "../../../core/errors/tempera-error.ts";
import type { Json } from "../../../core/json/json.ts";
import { LIMITS } from "../../../core/limits.ts";
import type { Scope } from "../../../core/owners/key.ts";
import { basicToKey } from "../../../fal/authorization.ts";
import { callOf, readingCallOf } from "../../auth/call.ts";
import type { Caller } from "../../auth/key-ring.ts";
import type { ApiDependencies } from "../../dependencies.ts";
import { answerJson } from "../../http/answer-json.ts";
import { readJsonBody } from "../../http/read-body.ts";
import { REQUEST_ID_HEADER, requestIdOf } from "../../http/request-id.ts";
import type { IdempotentWrite } from "../../requests/idempotent-write.ts";
import { type Change, createAudited, type MakeChange } from "./audited.ts";
import { describeRoute, type Fields, type Route, type RouteScope } from "./describe-route.ts";
import { ifMatchRevision } from "./etag.ts";
import { faultsOf } from "./schema-errors.ts";

/** The validated request, as a handler receives it. */
export interface RequestContext<
  S extends RouteScope,
  P extends Fields,
  Q extends Fields,
  B extends z.ZodType,
> {
  c: Context;
  caller: S extends Scope ? Caller : S extends "optional" ? Caller | undefined : undefined;
  params: z.output<P>;
  query: z.output<Q>;
  body: z.output<B>;
  /** The revision that `If-Match` names; `undefined` accepts any. */
  revision: number | undefined;
  /** Makes a change and writes its audit record. */
  change: <T>(subject: Change, make: MakeChange<T>) => Promise<T>;
}

/** A body with headers of its own. */
export class Reply<T> {
  readonly body: T;
  readonly headers: Record<string, string>;
  constructor(body: T, headers: Record<string, string>) {
    this.body = body;
    this.headers = headers;
  }
}

export type AddRoute = <
  S extends RouteScope,
  P extends Fields = z.ZodObject<Record<never, never>>,
  Q extends Fields = z.ZodObject<Record<never, never>>,
  B extends z.ZodType = z.ZodType<Record<never, never>>,
  A extends z.ZodType = z.ZodVoid,
>(
  route: Route<S, P, Q, B, A>,
  handle: (request: RequestContext<S, P, Q, B>) => Promise<z.input<A> | Reply<z.input<A>> | Response>,
) => void;

/** The dependencies of the framework itself. */
type Dependencies = Pick<ApiDependencies, "keyRing" | "audit" | "clock" | "log"> & {
  idempotentWrite: IdempotentWrite;
};

type Handler = (request: object) => Promise<unknown>;

/**
 * Returns a function that adds routes to an app and to its OpenAPI document. Every route runs in one order:
 * authenticate, authorize, validate, handle, write the audit record, reply.
 *
 * The returned function throws when a route is added twice, or when one that is not a GET states no audit
 * action.
 */
export function createAddRoute(
  app: Pick<OpenAPIHono, "openAPIRegistry" | "on">,
  api: Dependencies,
): AddRoute {
  const audited = createAudited(api);
  const added = new Set<string>();
  return (definition, handle) => {
    const route = definition as unknown as Route;
    const name = `${route.method} ${route.path}`;
    if (added.has(name)) throw new Error(`The route ${name} is added twice.`);
    added.add(name);
    app.openAPIRegistry.registerPath(describeRoute(route));
    if (route.method !== "get" && route.audit === undefined)
      throw new Error(`The route ${name} needs an audit action, or null when it changes nothing.`);
    app.on([route.method.toUpperCase()], honoPath(route), (c) =>
      serve({ route, handle: handle as unknown as Handler, audited, api }, c),
    );
  };
}

/** `/v1/flags/{kind}/{name}` in Hono's form: `/v1/flags/:kind/:name`. A wildcard also matches slashes. */
const honoPath = ({ path, wildcard }: Route): string =>
  path.replace(/\{(\w+)\}/g, (_, name: string) => (name === wildcard ? `:${name}{[\\s\\S]+}` : `:${name}`));

interface ServedRoute {
  route: Route;
  handle: Handler;
  audited: ReturnType<typeof createAudited>;
  api: Dependencies;
}

/** Serves one request to a route, in the order of `createAddRoute`. */
async function serve({ route, handle, audited, api }: ServedRoute, c: Context): Promise<Response> {
  const caller = await authenticate(c, route, api);
  const params = validated(route.params, c.req.param(), "path");
  const query = validated(route.query, queryValues(c.req.queries()), "query");
  const body =
    route.body &&
    validated(
      route.body,
      await readJsonBody(c, route.bodyBytesMax ?? LIMITS.adminBodyBytesMax, LIMITS.inputValuesMax),
      "body",
    );
  let changed = false;
  const change = <T>(subject: Change, make: MakeChange<T>): Promise<T> => {
    changed = true;
    if (!caller || !route.audit)
      throw new Error(`The route ${route.path} makes a change without an audit action.`);
    return audited({ ...subject, action: route.audit, caller, requestId: requestIdOf(c) }, make);
  };
  const revision = route.ifMatch && ifMatchRevision(c.req.header("if-match"), route.ifMatch);
  const reply = async (): Promise<Response> => {
    const result = await handle({ c, caller, params, query, body, revision, change });
    // The first test that calls a route without its audit record fails here.
    if (route.audit && !changed) throw new Error(`The route ${route.path} wrote no audit record.`);
    return responseOf(c, route, result);
  };
  if (!route.audit || !caller || route.streamsBody) return reply();
  const input = { query: query as Json, body: (body ?? null) as Json };
  return api.idempotentWrite(c, { ownerId: caller.ownerId, input }, reply);
}

/** Turns the value that a handler returned into the response. */
function responseOf(c: Context, { path, status = 200 }: Route, result: unknown): Response {
  if (result instanceof Response) return result;
  if (status === 501) throw new Error(`The route ${path} is described as one without a success.`);
  const { body, headers } = result instanceof Reply ? result : new Reply(result, {});
  if (status === 204) return c.body(null, 204, { [REQUEST_ID_HEADER]: requestIdOf(c), ...headers });
  return answerJson(c, body as object, status, headers);
}

/**
 * Returns the caller of a request, or `undefined` where the route's scope permits a request without a key.
 *
 * Rejects with the errors of `KeyRing.authenticate`, with `key_endpoint_forbidden` for a key that is limited
 * to endpoints, and with `scope_missing` for an API key on a route of scope ADMIN.
 */
async function authenticate(
  c: Context,
  { scope, basicAuth, audit }: Pick<Route, "scope" | "basicAuth" | "audit">,
  { keyRing }: Pick<ApiDependencies, "keyRing">,
): Promise<Caller | undefined> {
  const header = c.req.header("authorization");
  const authorization = basicAuth && header !== undefined ? basicToKey(header) : header;
  if (scope === "none" || (scope === "optional" && authorization === undefined)) return undefined;
  const caller = await keyRing.authenticate(authorization, audit === null ? readingCallOf(c) : callOf(c));
  // This service shows and changes all of the owner's data, whatever the endpoint.
  if (caller.permissions?.endpoints)
    throw new TemperaError("key_endpoint_forbidden", "This key is for calls of its endpoints only.");
  if (scope === "ADMIN" && caller.scope !== "ADMIN")
    throw new TemperaError("scope_missing", "This call needs a key of scope ADMIN.");
  return caller;
}

/** Returns the query parameters by name; one that is repeated becomes a list. */
const queryValues = (queries: Record<string, string[]>): Record<string, string | string[]> =>
  Object.fromEntries(
    Object.entries(queries).map(([name, values]) => [name, values.length === 1 ? (values[0] ?? "") : values]),
  );

/** Returns the value as its schema reads it. Throws `input_invalid` with every fault. */
function validated(
  schema: z.ZodType | undefined,
  value: unknown,
  location: "path" | "query" | "body",
): unknown {
  if (!schema) return {};
  const read = schema.safeParse(value);
  if (read.success) return read.data;
  const known = "shape" in schema ? Object.keys(schema.shape as object) : [];
  const faults = faultsOf(read.error, value, location, known);
  const messages = faults.map(({ loc, msg }) => (loc.length > 1 ? `${loc.slice(1).join(".")}: ${msg}` : msg));
  throw new TemperaError("input_invalid", messages.join("; "), { faults });
}
