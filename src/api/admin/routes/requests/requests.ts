/**
 * The admin API of requests: the ones that have ended (`requests.ts`), their log lines (`logs.ts`), the
 * deletion of their payloads (`payloads.ts`), those that wait (`queues.ts`), and those that used up their
 * attempts (`dead-letters.ts`).
 */
import { z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { isTemperaError, TemperaError } from "../../../../core/errors/tempera-error.ts";
import { retrieve } from "../../../../core/files/stored-value.ts";
import { writeJson } from "../../../../core/json/exact-json.ts";
import type { Json, JsonObject, Stored } from "../../../../core/json/json.ts";
import { LIMITS } from "../../../../core/limits.ts";
import { unitsOf } from "../../../../core/owners/usage.ts";
import { isRequestId } from "../../../../core/requests/request.ts";
import type { EndedRequest, Payloads } from "../../../../core/requests/request-search.ts";
import { falError } from "../../../../fal/index.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { followCaller, type OutputAddressDependencies } from "../../../http/output-addresses.ts";
import { cursorOf, limitQuery, PAGE_FIELDS, paged, readCursor } from "../../http/page.ts";
import type { AddRoute } from "../../http/route.ts";
import { TIME_QUERY } from "../../http/time.ts";
import { ENDPOINT_IDS, listed } from "../models/endpoints.ts";

const DAY_MS = 24 * 3600 * 1000;

const REQUEST = z
  .object({
    request_id: z.string(),
    endpoint_id: z.string(),
    started_at: z.string().nullable().openapi({ description: "null: the request ended before it started" }),
    sent_at: z.string(),
    ended_at: z.string(),
    status_code: z.int(),
    duration: z.number().openapi({ description: "Seconds." }),
    owner: z.string().optional().openapi({ description: "For keys of scope ADMIN only." }),
    json_input: z
      .unknown()
      .optional()
      .openapi({ description: "With expand=payloads only; absent when the input is not stored." }),
    json_output: z.unknown().optional(),
  })
  .openapi("EndedRequest");

/** A request that has ended, as the API shows it. */
export type EndedRequestView = z.output<typeof REQUEST>;

const QUERY = z.object({
  endpoint_id: ENDPOINT_IDS,
  limit: limitQuery(100, 50),
  cursor: z.string().optional(),
  start: TIME_QUERY.optional().openapi({
    description: "The earliest end of the requests. Default: a day ago, or 90 days ago with request_id.",
  }),
  end: TIME_QUERY.optional(),
  status: z.enum(["success", "error", "user_error"]).optional(),
  request_id: z
    .string()
    .refine(isRequestId, "Input should be a request id")
    .optional()
    .openapi({ format: "uuid" }),
  expand: listed(z.enum(["payloads"]), 1).optional(),
  sort_by: z.enum(["ended_at", "duration"]).default("ended_at"),
  owner: z.string().max(200).optional().openapi({
    description: "The owner of the requests. For keys of scope ADMIN, which otherwise see all owners'.",
  }),
});

type Query = z.output<typeof QUERY>;
interface Caller {
  ownerId: string;
  scope: string;
}

const iso = (ms: number): string => new Date(ms).toISOString();

const requestBody = (found: EndedRequest, admin: boolean): EndedRequestView => ({
  request_id: found.requestId,
  endpoint_id: found.endpoint,
  started_at: found.startedAtMs === undefined ? null : iso(found.startedAtMs),
  sent_at: iso(found.submittedAtMs),
  ended_at: iso(found.endedAtMs),
  status_code: found.statusCode,
  duration: found.seconds,
  ...(admin && { owner: found.ownerId }),
});

type Dependencies = Pick<ApiDependencies, "requestSearch" | "objects" | "clock"> & OutputAddressDependencies;

/** Adds the routes of requests that have ended, with their inputs and outputs (contract §10). */
export function addRequestRoutes(addRoute: AddRoute, api: Dependencies): void {
  addRoute(
    {
      method: "get",
      path: "/v1/models/requests/by-endpoint",
      summary: "Lists the ended requests of endpoints, newest or longest first.",
      scope: "API",
      query: QUERY,
      response: z.object({ items: z.array(REQUEST), ...PAGE_FIELDS }),
    },
    async ({ c, query, caller }) => {
      const { found: _, ...page } = await listEnded(api, query, { c, caller });
      return page;
    },
  );

  addRoute(
    {
      method: "get",
      path: "/v1/serverless/requests/by-endpoint",
      summary: "Lists the ended requests of endpoints, newest or longest first, with their billed units.",
      scope: "API",
      query: QUERY,
      response: z.object({
        items: z.array(REQUEST.extend({ runner_id: z.string().nullable(), billable_units: z.number() })),
        ...PAGE_FIELDS,
      }),
    },
    async ({ c, query, caller }) => {
      const { items, found, ...page } = await listEnded(api, query, { c, caller });
      const payloads = await api.requestSearch.payloads(found.map(({ requestId }) => requestId));
      const unitsBilled = (requestId: string): number => {
        const outcome = payloads.get(requestId)?.outcome;
        return outcome ? unitsOf(outcome) : 0;
      };
      return {
        items: items.map((item) => ({
          ...item,
          runner_id: null,
          billable_units: unitsBilled(item.request_id),
        })),
        ...page,
      };
    },
  );
}

interface EndedPage {
  /** The records of `items`. */
  found: EndedRequest[];
  items: EndedRequestView[];
  next_cursor: string | null;
  has_more: boolean;
}

/** Throws `scope_missing` when a key of scope API names another owner, and `input_invalid`. */
async function listEnded(
  api: Dependencies,
  query: Query,
  { c, caller }: { c: Context; caller: Caller },
): Promise<EndedPage> {
  const admin = caller.scope === "ADMIN";
  if (query.owner !== undefined && !admin && query.owner !== caller.ownerId) {
    throw new TemperaError("scope_missing", "Other owners' requests are for keys of scope ADMIN.");
  }
  const ownerId = admin ? query.owner : caller.ownerId;
  const found = await findEnded(api, query, ownerId);
  const cursor = (one: EndedRequest): string =>
    cursorOf(query.sort_by === "duration" ? one.seconds : one.endedAtMs, one.requestId);
  const { items, ...page } = paged(found, query.limit, cursor);
  if (!query.expand || items.length === 0)
    return { found: items, items: items.map((one) => requestBody(one, admin)), ...page };
  const expanded = await withPayloads(api, items, { c, admin });
  const last = items[expanded.length - 1] as EndedRequest;
  const isCut = expanded.length < items.length;
  return {
    found: items.slice(0, expanded.length),
    items: expanded,
    ...(isCut ? { next_cursor: cursor(last), has_more: true } : page),
  };
}

/** Finds up to one more request than the query's limit. */
async function findEnded(
  { requestSearch, clock }: Dependencies,
  { limit, cursor, start, end, status, request_id, sort_by, endpoint_id }: Query,
  ownerId: string | undefined,
): Promise<EndedRequest[]> {
  const nowMs = clock.nowMs();
  const endMs = end ?? nowMs + DAY_MS; // the database's clock may be ahead of this one
  const startMs = start ?? (request_id ? nowMs - 90 * DAY_MS : nowMs - DAY_MS);
  if (startMs >= endMs) {
    const msg = "Input should be earlier than end";
    throw new TemperaError("input_invalid", `start: ${msg}`, {
      faults: [{ loc: ["query", "start"], msg, type: "value_error" }],
    });
  }
  const [value, requestId] =
    cursor === undefined ? [] : readCursor(cursor, z.tuple([z.number(), z.string().refine(isRequestId)]));
  if (request_id) {
    const one = await requestSearch.find(request_id);
    const matches =
      one &&
      endpoint_id.includes(one.endpoint) &&
      (ownerId === undefined || one.ownerId === ownerId) &&
      one.endedAtMs >= startMs &&
      one.endedAtMs < endMs &&
      (status === undefined || status === statusOf(one.statusCode));
    return matches ? [one] : [];
  }
  return requestSearch.ended({
    endpoints: [...new Set(endpoint_id)],
    startMs,
    endMs,
    sortBy: sort_by,
    limit: limit + 1,
    ...(ownerId !== undefined && { ownerId }),
    ...(status && { status }),
    ...(value !== undefined && requestId !== undefined && { after: { value, requestId } }),
  });
}

const statusOf = (code: number): "success" | "user_error" | "error" =>
  code < 400 ? "success" : code < 500 ? "user_error" : "error";

/** Adds inputs and outputs. Returns fewer requests when all would exceed `LIMITS.pagePayloadBytesMax`. */
async function withPayloads(
  api: Dependencies,
  requests: EndedRequest[],
  { c, admin }: { c: Context; admin: boolean },
): Promise<EndedRequestView[]> {
  const payloads = await api.requestSearch.payloads(requests.map(({ requestId }) => requestId));
  const expanded: EndedRequestView[] = [];
  let bytes = 0;
  for (const one of requests) {
    const stored = payloads.get(one.requestId);
    const given = stored && (await payloadsOf(api, stored).catch(ignoreDeleted));
    const body = { ...requestBody(one, admin), ...(given && followCaller(c, api, given, one.ownerId)) };
    bytes += writeJson(body).length;
    if (expanded.length > 0 && bytes > LIMITS.pagePayloadBytesMax) break;
    expanded.push(body);
  }
  return expanded;
}

/** Ignores a payload that was deleted between the check and the read, as if it had been deleted before. */
const ignoreDeleted = (error: unknown): undefined => {
  if (!isTemperaError(error)) throw error;
  return undefined;
};

async function payloadsOf(api: Dependencies, { job, outcome }: Payloads): Promise<JsonObject> {
  // With `X-Fal-Store-IO: 0`, payloads are stored only until they are delivered, and lists do not show them.
  const unstored = (job as { storeIo?: boolean }).storeIo === false;
  const input = unstored ? undefined : await storedValue(api, job.input);
  const output = outcome.ok
    ? unstored
      ? undefined
      : await storedValue(api, outcome.output)
    : falError(outcome.error).body;
  return {
    ...(input !== undefined && { json_input: input }),
    ...(output !== undefined && { json_output: output }),
  };
}

/** Returns a stored value; `undefined` for one that was deleted, or never stored. */
async function storedValue(
  { objects }: Dependencies,
  stored: Stored<Json> | undefined,
): Promise<Json | undefined> {
  if (!stored || "inline" in stored) return stored?.inline;
  if (!(await objects.head(stored.ref))) return undefined;
  return retrieve<Json>(objects, stored);
}
