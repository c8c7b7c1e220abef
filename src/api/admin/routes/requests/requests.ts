import { z } from "@hono/zod-openapi";
import { isTemperaError, TemperaError } from "../../../../core/errors/tempera-error.ts";
import type { Json, Stored } from "../../../../core/json/json.ts";
import { LIMITS } from "../../../../core/limits.ts";
import type { EndedRequest, Payloads } from "../../../../core/requests/request-search.ts";
import { isRequestId } from "../../../../core/requests/request.ts";
import { retrieve } from "../../../../core/files/stored-value.ts";
import { unitsOf } from "../../../../core/owners/usage.ts";
import { falError } from "../../../../fal/index.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { ENDPOINT_IDS, listed } from "../models/endpoints.ts";
import { cursorOf, limitQuery, PAGE_ANSWER, paged, readCursor } from "../../http/page.ts";
import { TIME_QUERY } from "../../http/time.ts";
import type { AddVerb } from "../../http/route.ts";

const DAY_MS = 24 * 3600 * 1000;

const REQUEST = z
  .object({
    request_id: z.string(),
    endpoint_id: z.string(),
    started_at: z.string().nullable().openapi({ description: "null for one that ended before it began" }),
    sent_at: z.string(),
    ended_at: z.string(),
    status_code: z.int(),
    duration: z.number().openapi({ description: "Seconds." }),
    owner: z.string().optional().openapi({ description: "For keys of scope ADMIN." }),
    json_input: z
      .unknown()
      .optional()
      .openapi({ description: "With expand=payloads; absent when it is not stored." }),
    json_output: z.unknown().optional(),
  })
  .openapi("EndedRequest");

const QUERY = z.object({
  endpoint_id: ENDPOINT_IDS,
  limit: limitQuery(100, 50),
  cursor: z.string().optional(),
  start: TIME_QUERY.optional().openapi({
    description: "Ended from then on. Default: a day ago; 90 days with request_id.",
  }),
  end: TIME_QUERY.optional(),
  status: z.enum(["success", "error", "user_error"]).optional(),
  request_id: z.string().refine(isRequestId, "Input should be a request id").optional(),
  expand: listed(z.enum(["payloads"]), 1).optional(),
  sort_by: z.enum(["ended_at", "duration"]).default("ended_at"),
  owner: z
    .string()
    .max(200)
    .optional()
    .openapi({ description: "Of one owner; for keys of scope ADMIN, which see everybody's." }),
});

const iso = (ms: number): string => new Date(ms).toISOString();

const requestBody = (found: EndedRequest, admin: boolean): z.input<typeof REQUEST> => ({
  request_id: found.requestId,
  endpoint_id: found.endpoint,
  started_at: found.startedAtMs === undefined ? null : iso(found.startedAtMs),
  sent_at: iso(found.submittedAtMs),
  ended_at: iso(found.endedAtMs),
  status_code: found.statusCode,
  duration: found.seconds,
  ...(admin && { owner: found.ownerId }),
});

/** Requests that have ended, and what they took and gave (contract §10). */
export function addRequestVerbs(
  add: AddVerb,
  { requestSearch, objects, clock }: Pick<ApiDependencies, "requestSearch" | "objects" | "clock">,
): void {
  /** A value as it was stored; `undefined` for one that is not there any more, or never was. */
  const storedValue = async (stored: Stored<Json> | undefined): Promise<Json | undefined> => {
    if (!stored || "inline" in stored) return stored?.inline;
    if (!(await objects.head(stored.ref))) return undefined;
    return retrieve<Json>(objects, stored);
  };
  const payloadsOf = async ({
    job,
    outcome,
  }: Payloads): Promise<{ json_input?: Json; json_output?: Json }> => {
    // Kept apart from records for as long as it takes to deliver them (`X-Fal-Store-IO: 0`): not for lists.
    const unstored = (job as { storeIo?: boolean }).storeIo === false;
    const input = unstored ? undefined : await storedValue(job.input);
    const output = outcome.ok
      ? unstored
        ? undefined
        : await storedValue(outcome.output)
      : falError(outcome.error).body;
    return {
      ...(input !== undefined && { json_input: input }),
      ...(output !== undefined && { json_output: output }),
    };
  };

  const list = async (
    {
      limit,
      cursor,
      start,
      end,
      status,
      request_id,
      expand,
      sort_by,
      owner,
      endpoint_id,
    }: z.output<typeof QUERY>,
    caller: { ownerId: string; scope: string },
  ) => {
    const admin = caller.scope === "ADMIN";
    if (owner !== undefined && !admin && owner !== caller.ownerId) {
      throw new TemperaError("scope_missing", "Other owners' requests are for keys of scope ADMIN.");
    }
    const ownerId = admin ? owner : caller.ownerId;
    const nowMs = clock.nowMs();
    const endMs = end ?? nowMs + DAY_MS; // a database's clock may be ahead of this one
    const startMs = start ?? (request_id ? nowMs - 90 * DAY_MS : nowMs - DAY_MS);
    if (startMs >= endMs) {
      const msg = "Input should be earlier than end";
      throw new TemperaError("input_invalid", `start: ${msg}`, {
        faults: [{ loc: ["query", "start"], msg, type: "value_error" }],
      });
    }
    const [value, requestId] =
      cursor === undefined ? [] : readCursor(cursor, z.tuple([z.number(), z.string().refine(isRequestId)]));
    const found = request_id
      ? [await requestSearch.find(request_id)].flatMap((one) =>
          one &&
          endpoint_id.includes(one.endpoint) &&
          (ownerId === undefined || one.ownerId === ownerId) &&
          one.endedAtMs >= startMs &&
          one.endedAtMs < endMs &&
          (status === undefined || status === statusOf(one.statusCode))
            ? one
            : [],
        )
      : await requestSearch.ended({
          endpoints: [...new Set(endpoint_id)],
          startMs,
          endMs,
          sortBy: sort_by,
          limit: limit + 1,
          ...(ownerId !== undefined && { ownerId }),
          ...(status && { status }),
          ...(value !== undefined && requestId !== undefined && { after: { value, requestId } }),
        });
    const next = (one: EndedRequest): string =>
      cursorOf(sort_by === "duration" ? one.seconds : one.endedAtMs, one.requestId);
    const { items, ...page } = paged(found, limit, next);
    if (!expand || items.length === 0)
      return { found: items, items: items.map((one) => requestBody(one, admin)), ...page };
    const payloads = await requestSearch.payloads(items.map(({ requestId: id }) => id));
    const expanded: z.input<typeof REQUEST>[] = [];
    let bytes = 0;
    for (const one of items) {
      const stored = payloads.get(one.requestId);
      const body = { ...requestBody(one, admin), ...(stored && (await payloadsOf(stored).catch(lost))) };
      bytes += JSON.stringify(body).length;
      // A page that grows too large ends early; the next one goes on there.
      if (expanded.length > 0 && bytes > LIMITS.pagePayloadBytesMax) break;
      expanded.push(body);
    }
    const last = items[expanded.length - 1] as EndedRequest;
    const cut = expanded.length < items.length;
    return {
      found: items.slice(0, expanded.length),
      items: expanded,
      ...(cut ? { next_cursor: next(last), has_more: true } : page),
    };
  };

  add(
    {
      method: "get",
      path: "/v1/models/requests/by-endpoint",
      says: "Lists the requests of endpoints that have ended, newest or longest first.",
      scope: "API",
      query: QUERY,
      answer: z.object({ items: z.array(REQUEST), ...PAGE_ANSWER }),
    },
    async ({ query, caller }) => {
      const { found: _, ...answer } = await list(query, caller);
      return answer;
    },
  );

  add(
    {
      method: "get",
      path: "/v1/serverless/requests/by-endpoint",
      says: "The same, and what was billed.",
      scope: "API",
      query: QUERY,
      answer: z.object({
        items: z.array(REQUEST.extend({ runner_id: z.string().nullable(), billable_units: z.number() })),
        ...PAGE_ANSWER,
      }),
    },
    async ({ query, caller }) => {
      const { items, found, ...page } = await list(query, caller);
      const outcomes = await requestSearch.payloads(found.map(({ requestId }) => requestId));
      const billed = (requestId: string): number => {
        const outcome = outcomes.get(requestId)?.outcome;
        return outcome ? unitsOf(outcome) : 0;
      };
      return {
        items: items.map((item) => ({ ...item, runner_id: null, billable_units: billed(item.request_id) })),
        ...page,
      };
    },
  );
}

const statusOf = (code: number): "success" | "user_error" | "error" =>
  code < 400 ? "success" : code < 500 ? "user_error" : "error";

/** Gone between the look and the read: shown like one that was gone before. */
const lost = (error: unknown): undefined => {
  if (!isTemperaError(error)) throw error;
  return undefined;
};
