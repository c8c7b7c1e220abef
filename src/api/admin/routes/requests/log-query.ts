/**
 * The query of log lines: its schema, and the tests that apply it to lines that the log search does not hold.
 */
import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import type { LoggedEvent, LogLevel } from "../../../../core/requests/events.ts";
import type { FoundLine, LineQuery } from "../../../../core/requests/log-search.ts";
import { isRequestId, type RequestIdentity } from "../../../../core/requests/request.ts";
import type { Caller } from "../../../auth/key-ring.ts";
import { PAGE_QUERY } from "../../http/page.ts";
import { TIME_QUERY } from "../../http/time.ts";

const DAY_MS = 24 * 3600 * 1000;
export const LEVELS = ["DEBUG", "INFO", "WARN", "ERROR"] as const satisfies LogLevel[];
/** fal's other names of levels. */
const LEVEL_ALIASES: Record<string, LogLevel> = { STDOUT: "INFO", STDERR: "ERROR", WARNING: "WARN" };

const LEVEL = z
  .string()
  .transform((level) => LEVEL_ALIASES[level.toUpperCase()] ?? level.toUpperCase())
  .pipe(z.enum(LEVELS))
  .openapi({ type: "string", enum: [...LEVELS, ...Object.keys(LEVEL_ALIASES)] });

export const LOG_QUERY = PAGE_QUERY.extend({
  start: TIME_QUERY.optional(),
  end: TIME_QUERY.optional(),
  app_id: z
    .string()
    .max(200)
    .optional()
    .openapi({ description: "An endpoint. Includes the endpoints below it." }),
  revision: z.string().max(40).optional().openapi({ description: "A model version." }),
  run_source: z.string().max(40).optional().openapi({ description: "The source of all lines is `gateway`." }),
  traceback: z
    .enum(["true", "false"])
    .optional()
    .openapi({ description: "`true` finds only lines with a traceback." }),
  search: z
    .string()
    .trim()
    .min(1)
    .max(500)
    .optional()
    .openapi({ description: "Words that the line must all contain." }),
  level: z
    .union([LEVEL, z.array(LEVEL).max(10)])
    .transform((value) => (typeof value === "string" ? [value] : value))
    .optional(),
  job_id: z.string().max(64).optional().openapi({ description: "The same as `request_id`." }),
  request_id: z.string().max(64).optional(),
});

const CONDITION = z.strictObject({
  key: z.enum(["request_id", "app_id", "endpoint_id", "revision", "level"]),
  value: z.string().max(500),
  condition_type: z.literal("equals").default("equals"),
});

/** fal's list of conditions on labels. An absent body is read as `{}`. */
export const CONDITIONS = z
  .union([z.array(CONDITION).max(20), z.strictObject({})])
  .transform((value) => (Array.isArray(value) ? value : []));

/** Throws `input_invalid` for a text that is no level. */
function levelOf(value: string): LogLevel {
  const read = LEVEL.safeParse(value);
  if (read.success) return read.data;
  const msg = `Input should be one of ${LEVELS.join(", ")}`;
  throw new TemperaError("input_invalid", `level: ${msg}`, {
    faults: [{ loc: ["body", "level"], msg, type: "value_error" }],
  });
}

/** A query of log lines, without its page. */
export type LineFilter = Omit<LineQuery, "limit" | "before">;

/**
 * Merges the query parameters and the conditions of the body. Returns `undefined` when no line can match.
 * Callers without scope ADMIN find the lines of their own requests only.
 */
export function lineFilter(
  query: z.output<typeof LOG_QUERY>,
  conditions: z.output<typeof CONDITIONS>,
  caller: Caller,
  nowMs: number,
): LineFilter | undefined {
  const merged = { ...query };
  for (const { key, value } of conditions) {
    if (key === "level") merged.level = [levelOf(value)];
    else merged[key === "endpoint_id" ? "app_id" : key] = value;
  }
  if (merged.run_source !== undefined && merged.run_source !== "gateway") return undefined;
  const requestId = (merged.request_id ?? merged.job_id)?.toLowerCase();
  if (requestId !== undefined && !isRequestId(requestId)) return undefined;
  const words = [merged.search, merged.traceback === "true" ? "traceback" : undefined]
    .filter((part) => part !== undefined)
    .join(" ");
  const endMs = merged.end ?? nowMs + 1000;
  return {
    // A single request has few lines, so its query needs no lower limit of time.
    startMs: merged.start ?? (requestId === undefined ? endMs - DAY_MS : 0),
    endMs,
    ...(caller.scope !== "ADMIN" && { ownerId: caller.ownerId }),
    ...(requestId !== undefined && { requestId }),
    ...(merged.app_id !== undefined && { app: merged.app_id }),
    ...(merged.revision !== undefined && { version: merged.revision }),
    ...(merged.level && { levels: merged.level }),
    ...(words !== "" && { words }),
  };
}

const wordsOf = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? [];

/**
 * Returns true if a line has the filter's time, level and words, as the log search decides for stored lines.
 */
export function lineMatches(line: FoundLine, { startMs, endMs, levels, words }: LineFilter): boolean {
  if (line.atMs < startMs || line.atMs > endMs || (levels && !levels.includes(line.level))) return false;
  if (words === undefined) return true;
  const present = new Set(wordsOf(line.message));
  return wordsOf(words).every((word) => present.has(word));
}

/** Returns true if a request has the filter's owner, endpoint and version. */
export function requestMatches({ ownerId, endpoint, version }: RequestIdentity, filter: LineFilter): boolean {
  return (
    (filter.ownerId === undefined || filter.ownerId === ownerId) &&
    (filter.app === undefined || endpoint === filter.app || endpoint.startsWith(`${filter.app}/`)) &&
    (filter.version === undefined || filter.version === version)
  );
}

/** Returns the log lines among a request's events. */
export function linesOf(
  { requestId, ownerId, endpoint, version }: RequestIdentity,
  events: LoggedEvent[],
): FoundLine[] {
  return events.flatMap(({ id, atMs, event }) => {
    if (event.type !== "log") return [];
    const { attempt, level, message } = event;
    return [{ requestId, ownerId, endpoint, version, attempt, level, message, id, atMs }];
  });
}
