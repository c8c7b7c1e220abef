import { setTimeout as pause } from "node:timers/promises";
import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import type { LoggedEvent, LogLevel } from "../../../../core/requests/events.ts";
import { LIMITS } from "../../../../core/limits.ts";
import type { FoundLine, LinePlace, LineQuery } from "../../../../core/requests/log-search.ts";
import { isRequestId, type RequestIdentity } from "../../../../core/requests/request.ts";
import { hasPassed } from "../../../../core/operations/retention.ts";
import { logTimestamp, SSE_HEADERS, SSE_OPEN, sseEvent } from "../../../../fal/index.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import type { Caller } from "../../../auth/key-ring.ts";
import { createInFlight } from "../../../run/in-flight.ts";
import { sseStream } from "../../../http/sse-stream.ts";
import { cursorOf, PAGE_ANSWER, PAGE_QUERY, readCursor } from "../../http/page.ts";
import { TIME_QUERY } from "../../http/time.ts";
import type { AddVerb } from "../../http/route.ts";

const DAY_MS = 24 * 3600 * 1000;
const LEVELS = ["DEBUG", "INFO", "WARN", "ERROR"] as const satisfies LogLevel[];
/** fal's other words for levels. */
const OTHER_LEVELS: Record<string, LogLevel> = { STDOUT: "INFO", STDERR: "ERROR", WARNING: "WARN" };

const LEVEL = z
  .string()
  .transform((level) => OTHER_LEVELS[level.toUpperCase()] ?? level.toUpperCase())
  .pipe(z.enum(LEVELS));

const FILTER = {
  start: TIME_QUERY.optional(),
  end: TIME_QUERY.optional(),
  app_id: z
    .string()
    .max(200)
    .optional()
    .openapi({ description: "An endpoint; what lies below it is meant too." }),
  revision: z.string().max(40).optional().openapi({ description: "A model version." }),
  run_source: z.string().max(40).optional().openapi({ description: "All lines are of `gateway`." }),
  traceback: z
    .enum(["true", "false"])
    .optional()
    .openapi({ description: "`true`: lines with a traceback only." }),
  search: z
    .string()
    .trim()
    .min(1)
    .max(500)
    .optional()
    .openapi({ description: "Words that all stand in the line." }),
  level: z
    .union([LEVEL, z.array(LEVEL).max(10)])
    .transform((given) => (typeof given === "string" ? [given] : given))
    .optional(),
  job_id: z.string().max(64).optional().openapi({ description: "The same as `request_id`." }),
  request_id: z.string().max(64).optional(),
};
const QUERY = PAGE_QUERY.extend(FILTER);

const CONDITION = z.strictObject({
  key: z.enum(["request_id", "app_id", "endpoint_id", "revision", "level"]),
  value: z.string().max(500),
  condition_type: z.literal("equals").default("equals"),
});
/** fal's list of conditions on labels. A body that is absent is read as `{}`. */
const CONDITIONS = z
  .union([z.array(CONDITION).max(20), z.strictObject({})])
  .transform((given) => (Array.isArray(given) ? given : []))
  .openapi({ type: "array", items: { type: "object" } });

const ITEM = z
  .object({
    timestamp: z.string(),
    level: z.enum(LEVELS),
    message: z.string(),
    app: z.string(),
    revision: z.string(),
    labels: z.object({ request_id: z.string(), attempt: z.number(), source: z.literal("USER") }),
  })
  .openapi("LogLine");

const itemOf = ({
  id,
  atMs,
  level,
  message,
  endpoint,
  version,
  requestId,
  attempt,
}: FoundLine): z.input<typeof ITEM> => ({
  timestamp: logTimestamp(id, atMs),
  level,
  message,
  app: endpoint,
  revision: version,
  labels: { request_id: requestId, attempt, source: "USER" },
});

const PLACE = z.tuple([z.int().nonnegative(), z.string().refine(isRequestId), z.int().nonnegative()]);

/** Throws `input_invalid` for what is no level. */
function levelOf(value: string): LogLevel {
  const read = LEVEL.safeParse(value);
  if (read.success) return read.data;
  const msg = `Input should be one of ${LEVELS.join(", ")}`;
  throw new TemperaError("input_invalid", `level: ${msg}`, {
    faults: [{ loc: ["body", "level"], msg, type: "value_error" }],
  });
}

type Asked = Omit<LineQuery, "limit" | "before">;

/** What is asked for, or that nothing can be it. Callers without scope ADMIN see their own requests. */
function asked(
  query: z.output<typeof QUERY>,
  conditions: z.output<typeof CONDITIONS>,
  caller: Caller,
  nowMs: number,
): Asked | undefined {
  const given = { ...query };
  for (const { key, value } of conditions) {
    if (key === "level") given.level = [levelOf(value)];
    else given[key === "endpoint_id" ? "app_id" : key] = value;
  }
  if (given.run_source !== undefined && given.run_source !== "gateway") return undefined;
  const requestId = (given.request_id ?? given.job_id)?.toLowerCase();
  if (requestId !== undefined && !isRequestId(requestId)) return undefined;
  const words = [given.search, given.traceback === "true" ? "traceback" : undefined]
    .filter((part) => part !== undefined)
    .join(" ");
  const endMs = given.end ?? nowMs + 1000;
  return {
    // The lines of a request that is named are few, whenever it was.
    startMs: given.start ?? (requestId === undefined ? endMs - DAY_MS : 0),
    endMs,
    ...(caller.scope !== "ADMIN" && { ownerId: caller.ownerId }),
    ...(requestId !== undefined && { requestId }),
    ...(given.app_id !== undefined && { app: given.app_id }),
    ...(given.revision !== undefined && { version: given.revision }),
    ...(given.level && { levels: given.level }),
    ...(words !== "" && { words }),
  };
}

const wordsOf = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? [];

/**
 * Whether a line that has just come is one that is asked for: what the search does to lines that are kept.
 */
function matches(line: FoundLine, { startMs, endMs, levels, words }: Asked): boolean {
  if (line.atMs < startMs || line.atMs > endMs || (levels && !levels.includes(line.level))) return false;
  if (words === undefined) return true;
  const there = new Set(wordsOf(line.message));
  return wordsOf(words).every((word) => there.has(word));
}

const isAsked = ({ ownerId, endpoint, version }: RequestIdentity, query: Asked): boolean =>
  (query.ownerId === undefined || query.ownerId === ownerId) &&
  (query.app === undefined || endpoint === query.app || endpoint.startsWith(`${query.app}/`)) &&
  (query.version === undefined || query.version === version);

const linesOf = (
  { requestId, ownerId, endpoint, version }: RequestIdentity,
  events: LoggedEvent[],
): FoundLine[] =>
  events.flatMap(({ id, atMs, event }) => {
    if (event.type !== "log") return [];
    const { attempt, level, message } = event;
    return [{ requestId, ownerId, endpoint, version, attempt, level, message, id, atMs }];
  });

/**
 * The log lines of requests (contract §10): what is kept of those that have ended, and what is said right
 * now.
 */
export function addLogVerbs(
  add: AddVerb,
  api: Pick<ApiDependencies, "keyRing" | "logSearch" | "requests" | "events" | "times" | "clock">,
): void {
  const { keyRing, logSearch, requests, events, clock } = api;
  const shown = (line: FoundLine): boolean =>
    !hasPassed(api.times?.of(line.ownerId).logMs ?? null, line.atMs, clock.nowMs());

  const history = async (
    query: z.output<typeof QUERY>,
    conditions: z.output<typeof CONDITIONS>,
    caller: Caller,
  ): Promise<{ items: z.input<typeof ITEM>[]; next_cursor: string | null; has_more: boolean }> => {
    const what = asked(query, conditions, caller, clock.nowMs());
    if (!what) return { items: [], next_cursor: null, has_more: false };
    if (what.requestId !== undefined && query.cursor === undefined) {
      // A request that has not ended has its lines in the event log alone.
      const snapshot = await events.snapshot(what.requestId).catch(() => undefined);
      if (snapshot && snapshot.state !== "COMPLETED" && isAsked(snapshot, what)) {
        const said = linesOf(snapshot, await events.read(what.requestId)).filter((line) =>
          matches(line, what),
        );
        return {
          items: said.reverse().slice(0, query.limit).map(itemOf),
          next_cursor: null,
          has_more: false,
        };
      }
    }
    const place = query.cursor === undefined ? undefined : readCursor(query.cursor, PLACE);
    const before: LinePlace | undefined = place && {
      submittedAtMs: place[0],
      requestId: place[1],
      line: place[2],
    };
    const { lines, next } = await logSearch.search({
      ...what,
      limit: query.limit,
      ...(before && { before }),
    });
    return {
      items: lines.filter(shown).map(itemOf),
      next_cursor: next ? cursorOf(next.submittedAtMs, next.requestId, next.line) : null,
      has_more: next !== undefined,
    };
  };
  const about = {
    path: "/v1/serverless/logs/history",
    says: "Finds log lines of requests: the newest request first, and of each the newest line. With a key of scope API, of its owner's.",
    scope: "API" as const,
    query: QUERY,
    answer: z.object({ items: z.array(ITEM), ...PAGE_ANSWER }),
  };
  add({ ...about, method: "get" }, ({ query, caller }) => history(query, [], caller));
  add({ ...about, method: "post", body: CONDITIONS, audit: null }, ({ query, body, caller }) =>
    history(query, body, caller),
  );

  let open = 0;

  const ofOwners = createInFlight(() => LIMITS.logStreamsOfOwnerMax, "log streams open", "Close one first.");
  /** Whether a key still opens. While the store is away, what it opened stays open. */
  const opens = ({ keyId }: Caller): Promise<boolean> =>
    keyRing.recall(keyId).then(
      (known) => known !== undefined,
      () => true,
    );

  /**
   * Each line as it is said. Ends when the one request that is asked for has ended, and when the reader's key
   * opens no more; else goes on until the reader leaves.
   */
  async function* follow(what: Asked, caller: Caller, gone: AbortSignal): AsyncGenerator<string> {
    open++;
    try {
      yield SSE_OPEN;
      const heard = new Map<string, string | undefined>();
      for (
        let sinceMs = what.requestId === undefined ? clock.nowMs() - LIMITS.logStreamOverlapMs : 0;
        !gone.aborted;
      ) {
        if (!(await opens(caller))) return;
        const nowMs = clock.nowMs();
        const active = await requests.active({
          ...what,
          endedSinceMs: sinceMs,
          limit: LIMITS.logStreamRequestsMax,
        });
        for (const request of active) {
          const said = await events.read(request.requestId, heard.get(request.requestId)).catch(() => []);
          // What ended while nobody listened, or was said to an event log that is away, is in the record.
          const kept =
            said.length === 0 && request.ended && !heard.has(request.requestId)
              ? (await requests.find(request.requestId))?.logs
              : [];
          for (const line of linesOf(request, [...said, ...(kept ?? [])]))
            if (matches(line, what) && shown(line)) yield sseEvent(itemOf(line));
          const last = said.at(-1)?.id ?? heard.get(request.requestId);
          heard.set(request.requestId, last);
        }
        if (what.requestId !== undefined && active.every(({ ended }) => ended)) return;
        const still = new Set(active.map(({ requestId }) => requestId));
        for (const requestId of heard.keys()) if (!still.has(requestId)) heard.delete(requestId);
        sinceMs = Math.max(sinceMs, nowMs - LIMITS.logStreamOverlapMs);
        await pause(LIMITS.logStreamLookMs, undefined, { signal: gone }).catch(() => {});
      }
    } finally {
      open--;
    }
  }

  add(
    {
      method: "post",
      path: "/v1/serverless/logs/stream",
      says: "Streams log lines as they are said, as server-sent events. With `request_id`, all of that request's, until it has ended.",
      scope: "API",
      query: QUERY.omit({ limit: true, cursor: true }),
      body: CONDITIONS,
      audit: null,
      media: "text/event-stream",
      errors: ["concurrent_requests_limit"],
    },
    async ({ query, body, caller, c }) => {
      if (open >= LIMITS.logStreamsMax)
        throw new TemperaError(
          "concurrent_requests_limit",
          `${open} log streams are open at this admin service, as many as it holds.`,
        );
      const nowMs = clock.nowMs();
      const what = asked({ ...query, limit: 1 }, body, caller, nowMs);
      const place = ofOwners.take(caller.ownerId);
      const gone = new AbortController();
      gone.signal.addEventListener("abort", () => place[Symbol.dispose](), { once: true });
      const lines = what
        ? follow(
            {
              ...what,
              startMs: query.start ?? (what.requestId === undefined ? nowMs : 0),
              endMs: query.end ?? Number.MAX_SAFE_INTEGER,
            },
            caller,
            gone.signal,
          )
        : nothing();
      return c.body(sseStream(holding(lines, place), gone), 200, SSE_HEADERS);
    },
  );
}

/** The same, with a place that is given back at its end. */
async function* holding(lines: AsyncGenerator<string>, place: Disposable): AsyncGenerator<string> {
  try {
    yield* lines;
  } finally {
    place[Symbol.dispose]();
  }
}

async function* nothing(): AsyncGenerator<string> {
  yield SSE_OPEN;
}
