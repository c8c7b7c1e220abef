import { z } from "@hono/zod-openapi";
import { sleep } from "../../../../core/concurrency/sleep.ts";
import { isStoreFailure } from "../../../../core/errors/store-failure.ts";
import { LIMITS } from "../../../../core/limits.ts";
import { hasPassed } from "../../../../core/operations/retention.ts";
import type { FoundLine } from "../../../../core/requests/log-search.ts";
import { isRequestId } from "../../../../core/requests/request.ts";
import { logTimestamp, SSE_HEADERS, SSE_OPEN, sseEvent } from "../../../../fal/index.ts";
import { type Call, readingCallOf } from "../../../auth/call.ts";
import type { Caller } from "../../../auth/key-ring.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { sseStream } from "../../../http/sse-stream.ts";
import { Budget } from "../../../limits/budget.ts";
import { cursorOf, PAGE_FIELDS, readCursor } from "../../http/page.ts";
import type { AddRoute } from "../../http/route.ts";
import {
  CONDITIONS,
  LEVELS,
  type LineFilter,
  LOG_QUERY,
  lineFilter,
  lineMatches,
  linesOf,
  requestMatches,
} from "./log-query.ts";

const LINE = z
  .object({
    timestamp: z.string(),
    level: z.enum(LEVELS),
    message: z.string(),
    app: z.string(),
    revision: z.string(),
    labels: z.object({
      request_id: z.string(),
      attempt: z.number(),
      level: z.enum(LEVELS),
      source: z.literal("USER"),
    }),
  })
  .openapi("LogLine");

/** A log line, as the API shows it. */
export type LogLineView = z.output<typeof LINE>;

const lineBody = (line: FoundLine): LogLineView => ({
  timestamp: logTimestamp(line.id, line.atMs),
  level: line.level,
  message: line.message,
  app: line.endpoint,
  revision: line.version,
  labels: { request_id: line.requestId, attempt: line.attempt, level: line.level, source: "USER" },
});

const CURSOR = z.tuple([z.int().nonnegative(), z.string().refine(isRequestId), z.int().nonnegative()]);

type Dependencies = Pick<
  ApiDependencies,
  "keyRing" | "logSearch" | "requests" | "events" | "times" | "clock"
>;

/** Adds the routes of log lines (contract §10): the stored ones, and a stream of new ones. */
export function addLogRoutes(addRoute: AddRoute, api: Dependencies): void {
  addHistoryRoutes(addRoute, api);
  addStreamRoute(addRoute, api);
}

/** Returns true if the owner's retention time of log lines has not passed. */
const isRetained = ({ times, clock }: Dependencies, line: FoundLine): boolean =>
  !hasPassed(times?.of(line.ownerId).logMs ?? null, line.atMs, clock.nowMs());

function addHistoryRoutes(addRoute: AddRoute, api: Dependencies): void {
  const route = {
    path: "/v1/serverless/logs/history",
    summary:
      "Finds log lines, newest request first and newest line first. " +
      "A key of scope API finds lines of its owner's requests.",
    scope: "API" as const,
    query: LOG_QUERY,
    response: z.object({ items: z.array(LINE), ...PAGE_FIELDS }),
  };
  addRoute({ ...route, method: "get" }, ({ query, caller }) => history(api, query, [], caller));
  addRoute({ ...route, method: "post", body: CONDITIONS, audit: null }, ({ query, body, caller }) =>
    history(api, query, body, caller),
  );
}

interface LinePage {
  items: LogLineView[];
  next_cursor: string | null;
  has_more: boolean;
}

async function history(
  api: Dependencies,
  query: z.output<typeof LOG_QUERY>,
  conditions: z.output<typeof CONDITIONS>,
  caller: Caller,
): Promise<LinePage> {
  const filter = lineFilter(query, conditions, caller, api.clock.nowMs());
  if (!filter) return { items: [], next_cursor: null, has_more: false };
  if (query.cursor === undefined) {
    const lines = await linesOfUnfinished(api, filter);
    if (lines)
      return {
        items: lines.reverse().slice(0, query.limit).map(lineBody),
        next_cursor: null,
        has_more: false,
      };
  }
  const cursor = query.cursor === undefined ? undefined : readCursor(query.cursor, CURSOR);
  const { lines, next } = await api.logSearch.search({
    ...filter,
    limit: query.limit,
    ...(cursor && { before: { submittedAtMs: cursor[0], requestId: cursor[1], line: cursor[2] } }),
  });
  return {
    items: lines.filter((line) => isRetained(api, line)).map(lineBody),
    next_cursor: next ? cursorOf(next.submittedAtMs, next.requestId, next.line) : null,
    has_more: next !== undefined,
  };
}

/**
 * Returns the matching lines of the one request that the filter names, oldest first, if it has not ended:
 * only the event log holds them. Returns `undefined` in all other cases.
 */
async function linesOfUnfinished(
  { events }: Dependencies,
  filter: LineFilter,
): Promise<FoundLine[] | undefined> {
  if (filter.requestId === undefined) return undefined;
  const snapshot = await events.snapshot(filter.requestId).catch(() => undefined);
  if (!snapshot || snapshot.state === "COMPLETED" || !requestMatches(snapshot, filter)) return undefined;
  const lines = linesOf(snapshot, await events.read(filter.requestId));
  return lines.filter((line) => lineMatches(line, filter));
}

function addStreamRoute(addRoute: AddRoute, api: Dependencies): void {
  const streams = new Budget({
    things: "log streams open at this admin service",
    remedy: "Close one first.",
    ofOwner: () => LIMITS.logStreamsOfOwnerMax,
    total: () => LIMITS.logStreamsMax,
  });
  addRoute(
    {
      method: "post",
      path: "/v1/serverless/logs/stream",
      summary:
        "Streams new log lines as server-sent events. With `request_id`, streams all lines of that request " +
        "and ends with it.",
      scope: "API",
      query: LOG_QUERY.omit({ limit: true, cursor: true }),
      body: CONDITIONS,
      audit: null,
      isEventStream: true,
      errors: ["concurrent_requests_limit", "capacity_limit"],
    },
    async ({ query, body, caller, c }) => {
      const nowMs = api.clock.nowMs();
      const filter = lineFilter({ ...query, limit: 1 }, body, caller, nowMs);
      const open = streams.acquire(caller.ownerId);
      const gone = new AbortController();
      const lines = filter
        ? follow(
            api,
            {
              ...filter,
              startMs: query.start ?? (filter.requestId === undefined ? nowMs : 0),
              endMs: query.end ?? Number.MAX_SAFE_INTEGER,
            },
            { caller, call: readingCallOf(c) },
            gone.signal,
          )
        : emptyStream();
      return c.body(sseStream(lines, gone, open), 200, SSE_HEADERS);
    },
  );
}

/** Returns true while a key is valid. An unreachable store does not end the streams of valid keys. */
const isKeyValid = ({ keyRing }: Dependencies, { keyId }: Caller, call: Call): Promise<boolean> =>
  keyRing.recall(keyId, call).then(
    (known) => known !== undefined && !known.permissions?.endpoints,
    (error) => isStoreFailure(error),
  );

/**
 * Yields new log lines as server-sent events. Ends when the one request that the filter names has ended or
 * stays unknown, when the caller's key is no longer valid, and when `gone` aborts.
 */
async function* follow(
  api: Dependencies,
  filter: LineFilter,
  { caller, call }: { caller: Caller; call: Call },
  gone: AbortSignal,
): AsyncGenerator<string> {
  const { requests, events, clock } = api;
  yield SSE_OPEN;
  /** The last event that was read of each request. */
  const lastRead = new Map<string, string | undefined>();
  /** The record of a request may come after the answer to its submit. */
  const unknownUntilMs = clock.nowMs() + LIMITS.logStreamOverlapMs;
  let sinceMs = filter.requestId === undefined ? clock.nowMs() - LIMITS.logStreamOverlapMs : 0;
  while (!gone.aborted) {
    if (!(await isKeyValid(api, caller, call))) return;
    const nowMs = clock.nowMs();
    const active = await requests.active({
      ...filter,
      endedSinceMs: sinceMs,
      limit: LIMITS.logStreamRequestsMax,
    });
    for (const request of active) {
      const { requestId, ended } = request;
      const fresh = await events.read(requestId, lastRead.get(requestId)).catch(() => []);
      // The record holds the lines of a request that ended before it was read here, or that the event log
      // lost.
      const recorded =
        fresh.length === 0 && ended && !lastRead.has(requestId) ? (await requests.find(requestId))?.logs : [];
      for (const line of linesOf(request, [...fresh, ...(recorded ?? [])]))
        if (lineMatches(line, filter) && isRetained(api, line)) yield sseEvent(lineBody(line));
      lastRead.set(requestId, fresh.at(-1)?.id ?? lastRead.get(requestId));
    }
    const isOver = active.length > 0 ? active.every(({ ended }) => ended) : nowMs >= unknownUntilMs;
    if (filter.requestId !== undefined && isOver) return;
    const activeIds = new Set(active.map(({ requestId }) => requestId));
    for (const requestId of lastRead.keys()) if (!activeIds.has(requestId)) lastRead.delete(requestId);
    sinceMs = Math.max(sinceMs, nowMs - LIMITS.logStreamOverlapMs);
    await sleep(LIMITS.logStreamPollMs, gone).catch(() => {});
  }
}

/** Yields the same lines, and calls `close` at their end. */
async function* emptyStream(): AsyncGenerator<string> {
  yield SSE_OPEN;
}
