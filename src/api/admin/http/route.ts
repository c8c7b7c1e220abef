/**
 * How the admin service's routes are made. One file per subject (`keys.ts`, `engines.ts`) exports a function
 * that adds its verbs:
 *
 *     export function addKeyVerbs(add: AddVerb, { keys, clock }: Pick<PlatformDependencies, "keys" | "clock">): void {
 *       add(
 *         {
 *           method: "delete",
 *           path: "/v1/keys/{key_id}",
 *           says: "Refuses a key from now on.",
 *           scope: "ADMIN",                         // who may: API (ADMIN may too), ADMIN, "optional" (a key or none), "none"
 *           params: z.object({ key_id: z.uuid() }), // and `query`, `body`: what does not fit is a 422 before `handle` runs
 *           audit: "keys.revoke",                   // every verb that changes something; `null` for a POST that only reads
 *           status: 204,                            // 200 when absent; `answer` is the schema of the body, none with 204
 *           errors: ["key_not_found"],              // codes of the catalogue, for the document
 *         },
 *         async ({ params, change }) =>
 *           // Makes the audit record around the change; its `after` is what the subject became.
 *           change({ subject: params.key_id, before: … }, async () => { …; return { after: …, result: undefined }; }),
 *       );
 *     }
 *
 * and is called in the table of `admin.ts`. The value that the handler returns is the body of the answer and
 * must have the type of `answer`, so the OpenAPI document (`npm run schemas:openapi`) cannot say anything
 * else than the code. Errors are thrown as `TemperaError` and answered in the Platform API's form. Lists page
 * with `PAGE_QUERY`, `pageAfter` and `paged` of `page.ts`; what two admins may change at once is guarded with
 * `revision.ts`.
 */
import type { OpenAPIHono, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { TemperaError } from "../../../core/errors/tempera-error.ts";
import type { Json } from "../../../core/json/json.ts";
import type { Scope } from "../../../core/owners/key.ts";
import { LIMITS } from "../../../core/limits.ts";
import { keyOfBasic } from "../../../fal/authorization.ts";
import { answerJson } from "../../http/answer-json.ts";
import type { ApiDependencies } from "../../dependencies.ts";
import type { IdempotentWrite } from "../../requests/idempotent-write.ts";
import type { Caller } from "../../auth/key-ring.ts";
import { readJsonBody } from "../../http/read-body.ts";
import { REQUEST_ID_HEADER, requestIdOf } from "../../http/request-id.ts";
import { type Change, createAudited } from "./audited.ts";
import { describeVerb, type Fields, type Verb, type VerbScope } from "./describe-route.ts";
import { faultsOf } from "./schema-errors.ts";
import { revisionGiven } from "./etag.ts";

/** What a handler is given. */
export interface Asked<S extends VerbScope, P extends Fields, Q extends Fields, B extends z.ZodType> {
  c: Context;
  caller: S extends Scope ? Caller : S extends "optional" ? Caller | undefined : undefined;
  params: z.output<P>;
  query: z.output<Q>;
  body: z.output<B>;
  /** What `If-Match` names; `undefined`: whatever it is. */
  revision: number | undefined;
  /** Makes a change and its audit record. */
  change: <T>(what: Change, make: () => Promise<{ result: T; after?: Json; subject?: string }>) => Promise<T>;
}

/** A body with headers of its own. */
export class Answered<T> {
  readonly body: T;
  readonly headers: Record<string, string>;
  constructor(body: T, headers: Record<string, string>) {
    this.body = body;
    this.headers = headers;
  }
}

export type AddVerb = <
  S extends VerbScope,
  P extends Fields = z.ZodObject<Record<never, never>>,
  Q extends Fields = z.ZodObject<Record<never, never>>,
  B extends z.ZodType = z.ZodType<Record<never, never>>,
  A extends z.ZodType = z.ZodVoid,
>(
  verb: Verb<S, P, Q, B, A>,
  handle: (asked: Asked<S, P, Q, B>) => Promise<z.input<A> | Answered<z.input<A>> | Response>,
) => void;

/**
 * Adds verbs to an app and to its OpenAPI document. Each goes in one order: who, may they, is the input
 * right, do, record, answer.
 */
export function createAddVerb(
  app: Pick<OpenAPIHono, "openAPIRegistry" | "on">,
  api: Pick<ApiDependencies, "keyRing" | "audit" | "clock" | "log"> & { idempotentWrite: IdempotentWrite },
): AddVerb {
  const audited = createAudited(api);
  const added = new Set<string>();
  return (verb, handle) => {
    const name = `${verb.method} ${verb.path}`;
    if (added.has(name)) throw new Error(`${name} is added twice`);
    added.add(name);
    app.openAPIRegistry.registerPath(describeVerb(verb));
    if (verb.method !== "get" && verb.audit === undefined)
      throw new Error(`${verb.method} ${verb.path} does not say how it is audited`);
    const path = verb.path.replace(/\{(\w+)\}/g, (_, name: string) =>
      name === verb.slashes ? `:${name}{.+}` : `:${name}`,
    );
    app.on([verb.method.toUpperCase()], path, async (c) => {
      const caller = await callerOf(c, verb, api);
      const params = fitting(verb.params, c.req.param(), "path");
      const query = fitting(verb.query, single(c.req.queries()), "query");
      const body =
        verb.body &&
        fitting(verb.body, await readJsonBody(c, verb.bodyBytesMax ?? LIMITS.adminBodyBytesMax), "body");
      let changed = false;
      const asked = {
        c,
        caller,
        params,
        query,
        body,
        revision: verb.ifMatch && revisionGiven(c.req.header("if-match"), verb.ifMatch),
        change: <T>(
          what: Change,
          make: () => Promise<{ result: T; after?: Json; subject?: string }>,
        ): Promise<T> => {
          changed = true;
          if (!caller || !verb.audit)
            throw new Error(`${verb.path} changes something and does not say how it is audited`);
          return audited({ ...what, action: verb.audit, caller, requestId: requestIdOf(c) }, make);
        },
      };
      const answered = async (): Promise<Response> => {
        const answer = await handle(asked as never);
        // A verb that forgets its record is found by the first test that calls it.
        if (verb.audit && !changed) throw new Error(`${verb.path} made no audit record`);
        if (answer instanceof Response) return answer;
        const { body: value, headers } = answer instanceof Answered ? answer : new Answered(answer, {});
        if (verb.status === 204)
          return c.body(null, 204, { [REQUEST_ID_HEADER]: requestIdOf(c), ...headers });
        return answerJson(c, value as object, verb.status ?? 200, headers);
      };
      if (!verb.audit || !caller || verb.streams) return answered();
      const { ownerId } = caller;
      return api.idempotentWrite(
        c,
        { ownerId, input: { query: query as Json, body: (body ?? null) as Json } },
        answered,
      );
    });
  };
}

async function callerOf(
  c: Context,
  { scope, basic }: { scope: VerbScope; basic?: true },
  { keyRing }: Pick<ApiDependencies, "keyRing">,
): Promise<Caller | undefined> {
  const given = c.req.header("authorization");
  const authorization = basic && given !== undefined ? keyOfBasic(given) : given;
  if (scope === "none" || (scope === "optional" && authorization === undefined)) return undefined;
  const caller = await keyRing.authenticate(authorization);
  if (scope === "ADMIN" && caller.scope !== "ADMIN")
    throw new TemperaError("scope_missing", "This call needs a key of scope ADMIN.");
  return caller;
}

/** Query parameters: one that is repeated is a list. */
const single = (queries: Record<string, string[]>): Record<string, string | string[]> =>
  Object.fromEntries(
    Object.entries(queries).map(([name, values]) => [name, values.length === 1 ? (values[0] ?? "") : values]),
  );

/** The value as its schema reads it. Throws `input_invalid` with every fault. */
function fitting(schema: z.ZodType | undefined, value: unknown, where: "path" | "query" | "body"): unknown {
  if (!schema) return {};
  const read = schema.safeParse(value);
  if (read.success) return read.data;
  const faults = faultsOf(
    read.error,
    value,
    where,
    "shape" in schema ? Object.keys(schema.shape as object) : [],
  );
  const says = faults.map(({ loc, msg }) => (loc.length > 1 ? `${loc.slice(1).join(".")}: ${msg}` : msg));
  throw new TemperaError("input_invalid", says.join("; "), { faults });
}
